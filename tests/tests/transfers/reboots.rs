//! Reboots.
