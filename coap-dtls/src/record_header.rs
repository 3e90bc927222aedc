//! The records of a datagram, as far as they can be read without keys (RFC 6347 §4.1).

/// Type, version, epoch, number and length.
const HEADER: usize = 13;
const HANDSHAKE: u8 = 22;

/// A message of a handshake under the keys of that handshake: a Finished, in DTLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The number of its record.
    pub(crate) number: u64,
    /// The last bytes of its tag.
    pub(crate) tag: [u8; 8],
}

impl Sealed {
    /// The first record of a datagram. `None`: it is another.
    pub(crate) fn read(datagram: &[u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
        let [HANDSHAKE, 0xfe, _, 0, 1, number @ .., high, low] = *header else { return None };
        let body = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
        let [a, b, c, d, e, f] = number;
        Some(Self { number: u64::from_be_bytes([0, 0, a, b, c, d, e, f]), tag: *body.last_chunk()? })
    }
}

/// The length of what is to be looked at together: the records in the clear up to the first one with keys, or that one alone.
pub(crate) fn first_part(datagram: &[u8]) -> usize {
    let mut length = 0;
    while let Some([20..=31, 0xfe, _, epoch_high, epoch_low, _, _, _, _, _, _, high, low]) =
        datagram.get(length..).and_then(|rest| rest.first_chunk::<HEADER>())
    {
        let record = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
        match (length, [*epoch_high, *epoch_low] == [0, 0]) {
            (_, true) => length += record,
            (0, false) => return record.min(datagram.len()),
            (_, false) => return length,
        }
        if length >= datagram.len() {
            break;
        }
    }
    // What is left, if anything, has the header of DTLS 1.3.
    datagram.len()
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    const CLEAR: [u8; 14] = hex!("14 fefd 0000 000000000003 0001 01");
    const SEALED: [u8; 23] = hex!("16 fefd 0001 000000000102 000a aabb 0102030405060708");

    #[test]
    fn a_sealed_message_is_known_by_its_number_and_its_tag() {
        let sealed = Sealed { number: 0x0102, tag: [1, 2, 3, 4, 5, 6, 7, 8] };
        assert_eq!(Sealed::read(&SEALED), Some(sealed));
        assert_eq!(Sealed::read(&[&SEALED[..], &CLEAR].concat()), Some(sealed));
        assert_eq!(Sealed::read(&CLEAR), None);
        assert_eq!(Sealed::read(&SEALED[..22]), None);
        assert_eq!(
            Sealed::read(&hex!("17 fefd 0001 000000000102 000a aabb 0102030405060708")),
            None,
            "not of a handshake"
        );
        assert_eq!(Sealed::read(&hex!("16 fefd 0001 000000000102 0002 aabb")), None, "too short for a tag");
    }

    #[test]
    fn records_in_the_clear_go_together_and_those_with_keys_alone() {
        let parts = |records: &[&[u8]]| {
            let datagram = records.concat();
            let (mut rest, mut parts) = (&datagram[..], Vec::new());
            while !rest.is_empty() {
                let (part, after) = rest.split_at(first_part(rest));
                parts.push(part.len());
                rest = after;
            }
            parts
        };
        assert_eq!(parts(&[&CLEAR]), [14]);
        assert_eq!(parts(&[&CLEAR, &CLEAR, &SEALED, &SEALED]), [28, 23, 23]);
        assert_eq!(parts(&[&SEALED, &CLEAR]), [23, 14]);
        // A record of DTLS 1.3.
        assert_eq!(parts(&[&CLEAR, &hex!("2e fecc 0003 aabbcc")]), [22]);
        assert_eq!(parts(&[&SEALED[..20]]), [20], "it is cut off");
    }
}
