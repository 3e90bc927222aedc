//! `--plot`: the numbers in the states of a resource, as a line of bars.

use core::fmt;
use std::collections::VecDeque;

use coap_core::ContentFormat;

/// As many fit beside the figures into a line of 80 columns.
const MOST: usize = 40;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The latest numbers.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    values: VecDeque<f64>,
}

impl Plot {
    /// Adds a number; the oldest goes when there is no room.
    pub(crate) fn push(&mut self, value: f64) {
        if self.values.len() == MOST {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// `▁▄█ 3, from 1 to 3`: bars between the least and the most of what is shown, and the latest.
impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(latest) = self.values.back() else { return Ok(()) };
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Halves, because the difference of two large numbers may be too large for one.
        let (floor, span) = (least / 2.0, most / 2.0 - least / 2.0);
        for value in &self.values {
            // What does not change is in the middle. A float that is made an integer stays within its bounds.
            let height = if span > 0.0 { (value / 2.0 - floor) / span } else { 0.5 };
            let index = (height * (BARS.len() - 1) as f64).round() as usize;
            write!(f, "{}", BARS.get(index).unwrap_or(&' '))?;
        }
        write!(f, " {latest}, from {least} to {most}")
    }
}

/// The number that a state is: text that begins with one and goes on with a unit at most, a number in JSON or CBOR, or the
/// first numeric value of a SenML pack (RFC 8428).
pub(crate) fn number(format: Option<ContentFormat>, payload: &[u8]) -> Option<f64> {
    let number = match format {
        Some(ContentFormat::CBOR) => match ciborium::from_reader(payload).ok()? {
            ciborium::Value::Float(number) => number,
            ciborium::Value::Integer(number) => i128::from(number) as f64,
            _ => return None,
        },
        Some(ContentFormat::SENML_JSON) => {
            let pack: serde_json::Value = serde_json::from_slice(payload).ok()?;
            pack.as_array()?.iter().find_map(|record| record.get("v")?.as_f64())?
        }
        // A number looks the same in JSON.
        None | Some(ContentFormat::TEXT_PLAIN | ContentFormat::JSON) => in_text(core::str::from_utf8(payload).ok()?)?,
        Some(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// `22.5`, `-3`, `22.5 °C`, `40%`; not `2026-01-31` or `10.0.0.1`.
fn in_text(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|character: char| !(character.is_ascii_digit() || "+-.eE".contains(character)));
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start();
    let is_unit = unit.chars().count() <= 8 && !unit.contains(|character: char| character.is_ascii_digit());
    // "5:30" is no number with a unit.
    if !is_unit || unit.starts_with([':', ',', ';', '_']) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: &[f64]) -> String {
        let mut plot = Plot::default();
        values.iter().for_each(|value| plot.push(*value));
        plot.to_string()
    }

    #[test]
    fn bars_stand_between_the_least_and_the_most() {
        assert_eq!(plot(&[1.0, 2.0, 3.0]), "▁▅█ 3, from 1 to 3");
        assert_eq!(plot(&[-7.0, 0.0]), "▁█ 0, from -7 to 0");
        assert_eq!(plot(&[22.5]), "▅ 22.5, from 22.5 to 22.5");
        assert_eq!(plot(&[]), "");
    }

    #[test]
    fn no_number_is_too_large() {
        assert!(plot(&[f64::MIN, 0.0, f64::MAX]).starts_with("▁▅█ "));
        assert!(plot(&[f64::MIN_POSITIVE / 4.0, 0.0]).contains(", from 0 to "));
    }

    #[test]
    fn the_latest_are_shown() {
        let mut plot = Plot::default();
        (0..1_000).for_each(|value| plot.push(f64::from(value)));
        let text = plot.to_string();
        assert_eq!(text.chars().filter(|character| BARS.contains(character)).count(), MOST);
        assert!(text.ends_with(" 999, from 960 to 999"), "{text}");
    }

    #[test]
    fn text_may_have_a_unit() {
        for (text, value) in [
            ("22.5", Some(22.5)),
            (" -3\n", Some(-3.0)),
            ("22.5 °C", Some(22.5)),
            ("40%", Some(40.0)),
            ("1e3", Some(1_000.0)),
            ("2026-01-31T12:00:00Z", None),
            ("10.0.0.1", None),
            ("5:30", None),
            ("3 of 4", None),
            ("", None),
            ("on", None),
            ("inf", None),
            ("1e999", None),
        ] {
            assert_eq!(number(None, text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn other_formats_have_numbers_of_their_own() {
        assert_eq!(number(Some(ContentFormat::JSON), b"-1.5"), Some(-1.5));
        assert_eq!(number(Some(ContentFormat::JSON), b"{\"a\":1}"), None);
        assert_eq!(number(Some(ContentFormat::CBOR), &[0x19, 0x01, 0x00]), Some(256.0));
        assert_eq!(number(Some(ContentFormat::CBOR), &[0xf9, 0x3e, 0x00]), Some(1.5));
        assert_eq!(number(Some(ContentFormat::CBOR), &[0xf9, 0x7e, 0x00]), None);
        let pack = br#"[{"bn":"lamp/","n":"name","vs":"x"},{"n":"level","v":70}]"#;
        assert_eq!(number(Some(ContentFormat::SENML_JSON), pack), Some(70.0));
        assert_eq!(number(Some(ContentFormat::OCTET_STREAM), b"1"), None);
    }
}
