//! Whether options may be acted on: RFC 7252 §5.4.1 (critical), §5.4.3 (length) and §5.4.5 (repetition).

use core::fmt;

use super::option::OptionNumber;
use super::options::Options;

/// What is wrong with an option. All of it counts as "not understood": a critical option then ends the matter, an
/// elective one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionProblem {
    /// It is critical, and the endpoint does not understand it (RFC 7252 §5.4.1).
    UnknownCritical,
    /// Its value has a length that the registry does not allow (RFC 7252 §5.4.3).
    Length,
    /// It occurs again but is not repeatable (RFC 7252 §5.4.5).
    Repeated,
}

/// The first critical option that may not be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadOption {
    /// The option.
    pub number: OptionNumber,
    /// What is wrong with it.
    pub problem: OptionProblem,
}

impl fmt::Display for BadOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, problem } = self;
        match problem {
            OptionProblem::UnknownCritical => write!(f, "critical option {number} is not understood"),
            OptionProblem::Length => write!(f, "critical option {number} has a value of illegal length"),
            OptionProblem::Repeated => write!(f, "critical option {number} occurs more than once"),
        }
    }
}

impl core::error::Error for BadOption {}

impl Options {
    /// Whether a receiver that knows the options for which `understood` is true may act on the message.
    ///
    /// Looks at critical options only. What to do on an error depends on the message: 4.02 for a Confirmable request,
    /// otherwise the message is rejected (RFC 7252 §5.4.1).
    ///
    /// # Errors
    /// Names the first critical option that is not understood, has a value of illegal length, or is repeated.
    #[inline]
    pub fn check(&self, understood: impl Fn(OptionNumber) -> bool) -> Result<(), BadOption> {
        self.check_all(understood).map(|_| ())
    }

    /// As [`check`](Self::check), and in the same walk what [`has_bad_elective`](Self::has_bad_elective) says.
    #[inline]
    pub(crate) fn check_all(&self, understood: impl Fn(OptionNumber) -> bool) -> Result<bool, BadOption> {
        let (mut before, mut bad_elective) = (None, false);
        for (number, value) in self {
            let problem = problem(before, number, value);
            if number.is_critical() {
                let unknown = (!understood(number)).then_some(OptionProblem::UnknownCritical);
                if let Some(problem) = unknown.or(problem) {
                    return Err(BadOption { number, problem });
                }
            } else {
                bad_elective |= problem.is_some();
            }
            before = Some(number);
        }
        Ok(bad_elective)
    }

    /// Whether an elective option has a value of illegal length or is repeated: it must be ignored then, and
    /// [`strip_bad_elective`](Self::strip_bad_elective) sees to it.
    #[inline]
    pub fn has_bad_elective(&self) -> bool {
        let mut before = None;
        self.iter().any(|(number, value)| is_bad_elective(before.replace(number), number, value))
    }

    /// Removes the elective options that must be ignored: those with a value of illegal length, and all but the first
    /// of one that is not repeatable. Returns how many.
    #[inline]
    pub fn strip_bad_elective(&mut self) -> usize {
        if self.has_bad_elective() { self.strip_found() } else { 0 }
    }

    fn strip_found(&mut self) -> usize {
        let mut before = None;
        let mut stripped = 0;
        self.retain(|number, value| {
            let bad = is_bad_elective(before, number, value);
            stripped += usize::from(bad);
            before = Some(number);
            !bad
        });
        stripped
    }
}

#[inline]
fn is_bad_elective(before: Option<OptionNumber>, number: OptionNumber, value: &[u8]) -> bool {
    !number.is_critical() && problem(before, number, value).is_some()
}

/// What the registry has against this option, if it knows it, behind an option `before`.
#[inline]
fn problem(before: Option<OptionNumber>, number: OptionNumber, value: &[u8]) -> Option<OptionProblem> {
    let known = number.definition()?;
    if !known.allows_len(value.len()) {
        Some(OptionProblem::Length)
    } else if before == Some(number) && !known.repeatable {
        Some(OptionProblem::Repeated)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(OptionNumber, &[u8])]) -> Options {
        let mut options = Options::new();
        for (number, value) in list {
            options.push_raw(*number, value).unwrap();
        }
        options
    }

    fn problem_of(list: &[(OptionNumber, &[u8])]) -> Option<(OptionNumber, OptionProblem)> {
        options(list).check(|number| number.definition().is_some()).err().map(|bad| (bad.number, bad.problem))
    }

    #[test]
    fn the_first_critical_problem_is_named() {
        let unknown = OptionNumber::new(65_001);
        let (host, path) = (OptionNumber::URI_HOST, OptionNumber::URI_PATH);
        assert_eq!(problem_of(&[(path, b"a"), (path, b"b")]), None);
        assert_eq!(problem_of(&[(path, b"a"), (unknown, b"")]), Some((unknown, OptionProblem::UnknownCritical)));
        assert_eq!(problem_of(&[(host, b""), (unknown, b"")]), Some((host, OptionProblem::Length)));
        assert_eq!(problem_of(&[(host, b"a"), (host, b"a")]), Some((host, OptionProblem::Repeated)));
    }

    #[test]
    fn elective_options_never_fail_the_check() {
        let list: [(_, &[u8]); 3] = [
            (OptionNumber::CONTENT_FORMAT, &[0; 3]),
            (OptionNumber::CONTENT_FORMAT, &[0; 3]),
            (OptionNumber::new(65_000), b""),
        ];
        assert_eq!(problem_of(&list), None);
    }

    #[test]
    fn bad_elective_options_are_stripped_and_the_first_good_one_stays() {
        let (format, age, path) = (OptionNumber::CONTENT_FORMAT, OptionNumber::MAX_AGE, OptionNumber::URI_PATH);
        let mut found = options(&[
            (path, b"a"),
            (format, &[50]),
            (format, &[60]),
            (age, &[0; 5]),
            (OptionNumber::new(65_000), b""),
        ]);
        assert!(found.has_bad_elective());
        assert_eq!(found.strip_bad_elective(), 2);
        assert_eq!(found, options(&[(path, b"a"), (format, &[50]), (OptionNumber::new(65_000), b"")]));
        assert!(!found.has_bad_elective());
    }

    #[test]
    fn a_bad_critical_option_is_not_stripped() {
        let mut found = options(&[(OptionNumber::URI_HOST, b"")]);
        assert_eq!((found.has_bad_elective(), found.strip_bad_elective(), found.count()), (false, 0, 1));
    }
}
