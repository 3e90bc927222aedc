//! The program as its users meet it: arguments in, standard output, standard error and an exit code out.

#![cfg(test)]

mod check;
mod client;
mod datagrams;
mod discover;
mod files;
mod group;

mod harness;
mod observe;
mod plugtest;
mod refusals;
mod secure;
mod serve;
mod tools;
mod transfers;
