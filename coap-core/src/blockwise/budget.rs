//! The memory that all bodies under way share (`Config::max_transfer_bytes`).

/// How much of it is taken. Whoever takes bytes gives as many back, on every way out.
pub(crate) struct Budget {
    used: usize,
    max: usize,
}

impl Budget {
    pub(crate) const fn new(max: usize) -> Self {
        Self { used: 0, max }
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Takes `bytes`, or nothing: false if there are not so many left.
    #[must_use]
    pub(crate) const fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.max - self.used;
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Gives back what was taken.
    pub(crate) const fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let mut budget = Budget::new(100);
        assert!(budget.take(60) && !budget.take(41) && budget.take(40) && !budget.take(1));
        budget.give(60);
        assert_eq!(budget.used(), 40);
        assert!(!budget.take(usize::MAX));
    }
}
