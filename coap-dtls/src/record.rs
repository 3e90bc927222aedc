//! The records of DTLS 1.2 with AES-128 as CCM_8, CCM or GCM (RFC 6347 §4.1, RFC 6655, RFC 5288), of the one epoch that follows a
//! handshake.

use core::fmt;

use aes::Aes128;
use aes_gcm::Aes128Gcm;
use ccm::Ccm;
use ccm::aead::inout::InOutBuf;
use ccm::aead::{AeadInOut, KeyInit, KeySizeUser, Tag};
use ccm::consts::{U8, U12, U16};
use zeroize::Zeroizing;

use crate::engine::SendError;
use crate::window::Window;

/// Type, version, epoch, number and length.
pub(crate) const HEADER: usize = 13;
/// The part of the nonce that is sent.
const EXPLICIT: usize = 8;
/// RFC 5246 §6.2.1.
pub(crate) const MAX_PLAINTEXT: usize = 1 << 14;
/// RFC 6347 §4.1: before the number would wrap, the keys are given up. The last number is kept for the alert that says so.
const MAX_RECORDS: u64 = NUMBER;
/// Each forgery is taken for good with a chance of 2^-64; after so many, one has been with 2^-32. RFC 9147 §4.5.3 wants such a
/// limit. Its own for this cipher, 2^7, would let anyone end a session with 128 datagrams; these take half a day at 100,000 a
/// second.
const MAX_FORGERIES: u64 = 1 << 32;

/// The part of epoch and number, as they are written, that is the number.
const NUMBER: u64 = (1 << 48) - 1;

pub(crate) const VERSION_1_0: [u8; 2] = [0xfe, 0xff];
pub(crate) const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];

/// What a record carries (RFC 5246 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

/// One record of a datagram, with a header that fits its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) content: Content,
    pub(crate) epoch: u16,
    pub(crate) number: u64,
    /// Header and all.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// What follows the header.
    pub(crate) fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// The header of a record whose body has `length` bytes.
    pub(crate) fn header(content: Content, epoch: u16, number: u64, length: u16) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0] = content as u8;
        header[1..3].copy_from_slice(&VERSION_1_2);
        header[3..11].copy_from_slice(&(u64::from(epoch) << 48 | number & NUMBER).to_be_bytes());
        header[11..].copy_from_slice(&length.to_be_bytes());
        header
    }
}

/// The records of a datagram. It ends where one is malformed: where the next begins, nobody knows (RFC 6347 §4.1.2.7).
pub(crate) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    core::iter::from_fn(move || {
        let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
        let [kind, v0, v1, epoch_number @ .., l0, l1] = *header;
        let content = match kind {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if ![VERSION_1_0, VERSION_1_2].contains(&[v0, v1]) || length > rest.len() {
            return None;
        }
        let (bytes, next) = datagram.split_at(HEADER + length);
        datagram = next;
        let both = u64::from_be_bytes(epoch_number);
        Some(Record { content, epoch: (both >> 48) as u16, number: both & NUMBER, bytes })
    })
}

/// RFC 6655 §3: keys of 16 bytes, and the 4 bytes of a nonce that are not sent.
pub(crate) const KEY: usize = 16;
pub(crate) const SALT: usize = 4;

/// What a session is sealed with. Keys and nonces are as long for one as for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher {
    /// RFC 6655 §4: a tag of 8 bytes.
    Aes128Ccm8,
    /// RFC 6655 §3: a tag of 16 bytes.
    Aes128Ccm,
    /// RFC 5288 §3: a tag of 16 bytes.
    Aes128Gcm,
}

impl Cipher {
    /// By how much a sealed record is longer than its plaintext.
    pub(crate) const fn overhead(self) -> usize {
        HEADER + self.expansion()
    }

    /// The same, of what follows the header.
    pub(crate) const fn expansion(self) -> usize {
        EXPLICIT + self.tag()
    }

    /// Decrypts in place. False: the tag is wrong.
    fn open(self, secret: &Secret, explicit: [u8; EXPLICIT], data: &[u8; 13], body: &mut [u8], tag: &[u8]) -> bool {
        match self {
            Self::Aes128Ccm8 => secret.open::<Ccm<Aes128, U8, U12>>(explicit, data, body, tag),
            Self::Aes128Ccm => secret.open::<Ccm<Aes128, U16, U12>>(explicit, data, body, tag),
            Self::Aes128Gcm => secret.open::<Aes128Gcm>(explicit, data, body, tag),
        }
    }

    const fn tag(self) -> usize {
        match self {
            Self::Aes128Ccm8 => 8,
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
        }
    }
}

/// The keys of a session, and what they have been used for. All of it is kept in less than 200 bytes: the keys are expanded for
/// each record, as the expanded ones would take ten times as much.
pub(crate) struct Records {
    cipher: Cipher,
    sending: Secret,
    receiving: Secret,
    /// The number of the next record that is sent.
    next: u64,
    window: Window,
    forgeries: u64,
}

/// A record of the peer that has been authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) content: Content,
    pub(crate) plaintext: &'a [u8],
}

/// Why a record is dropped. Nothing is changed by it, but for a count of forgeries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It is of another epoch or version, or too short or too long to be one of this cipher.
    Malformed,
    /// It has been seen, or is too old to tell.
    Replayed,
    /// Its tag is wrong.
    Forged,
    /// Its tag is wrong, and too many have been.
    Exhausted,
}

impl Records {
    /// What goes on after a handshake, in which the records before `next` have been sent, and those of `window` have come.
    pub(crate) fn new(cipher: Cipher, secrets: Secrets, next: u64, window: Window) -> Self {
        let Secrets { sending, receiving } = secrets;
        Self { cipher, sending, receiving, next, window, forgeries: 0 }
    }

    /// By how much a record is longer than its plaintext.
    pub(crate) fn overhead(&self) -> usize {
        self.cipher.overhead()
    }

    /// A record with this plaintext.
    ///
    /// The nonce is made of epoch and number (RFC 6655 §3, RFC 5288 §3), so that it comes once only. What the handshake has sealed has random
    /// ones: one of them is equal to one of these with a chance of one in 2^64 a record.
    pub(crate) fn seal(&mut self, content: Content, plaintext: &[u8]) -> Result<Vec<u8>, SendError> {
        let last = if content == Content::Alert { MAX_RECORDS } else { MAX_RECORDS - 1 };
        if self.next > last {
            return Err(SendError::Exhausted);
        }
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SendError::TooLarge);
        }
        // The sum is below 2^15.
        let header = Record::header(content, 1, self.next, (self.cipher.expansion() + plaintext.len()) as u16);
        let mut explicit = [0; EXPLICIT];
        explicit.copy_from_slice(&header[3..11]);
        let mut record = Vec::with_capacity(self.overhead() + plaintext.len());
        record.extend_from_slice(&header);
        record.extend_from_slice(&explicit);
        record.extend_from_slice(plaintext);
        let data = additional_data(&header, plaintext.len());
        match self.cipher {
            Cipher::Aes128Ccm8 => self.sending.seal::<Ccm<Aes128, U8, U12>>(explicit, &data, &mut record)?,
            Cipher::Aes128Ccm => self.sending.seal::<Ccm<Aes128, U16, U12>>(explicit, &data, &mut record)?,
            Cipher::Aes128Gcm => self.sending.seal::<Aes128Gcm>(explicit, &data, &mut record)?,
        }
        self.next += 1;
        Ok(record)
    }

    /// The plaintext of a record that we have sent ourselves.
    pub(crate) fn open_own(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let (header, body) = record.bytes.split_first_chunk::<HEADER>()?;
        let (explicit, body) = body.split_first_chunk::<EXPLICIT>()?;
        let (ciphertext, tag) = body.split_at_checked(body.len().checked_sub(self.cipher.tag())?)?;
        let mut plaintext = ciphertext.to_vec();
        let data = additional_data(header, plaintext.len());
        self.cipher.open(&self.sending, *explicit, &data, &mut plaintext, tag).then_some(plaintext)
    }

    /// The plaintext of a record of the peer, decrypted into `buf`.
    ///
    /// Of the handshake, records are authenticated even if they have been seen: a repetition of the peer's last flight asks for
    /// ours (RFC 6347 §4.2.4).
    pub(crate) fn open<'a>(&mut self, record: &Record<'_>, buf: &'a mut [u8]) -> Result<Opened<'a>, Dropped> {
        let (header, body) = record.bytes.split_first_chunk::<HEADER>().ok_or(Dropped::Malformed)?;
        let (explicit, body) = body.split_first_chunk::<EXPLICIT>().ok_or(Dropped::Malformed)?;
        let length = body.len().checked_sub(self.cipher.tag()).ok_or(Dropped::Malformed)?;
        let (ciphertext, tag) = body.split_at(length);
        if record.epoch != 1 || header[1..3] != VERSION_1_2 || ciphertext.len() > MAX_PLAINTEXT {
            return Err(Dropped::Malformed);
        }
        let fresh = self.window.is_fresh(record.number);
        if !fresh && record.content != Content::Handshake {
            return Err(Dropped::Replayed);
        }
        let plaintext = buf.get_mut(..ciphertext.len()).ok_or(Dropped::Malformed)?;
        plaintext.copy_from_slice(ciphertext);
        let data = additional_data(header, ciphertext.len());
        let genuine = self.cipher.open(&self.receiving, *explicit, &data, plaintext, tag);
        if !genuine {
            self.forgeries += 1;
            return Err(if self.forgeries < MAX_FORGERIES { Dropped::Forged } else { Dropped::Exhausted });
        }
        if fresh {
            self.window.mark(record.number);
        }
        Ok(Opened { content: record.content, plaintext })
    }
}

/// What one end seals with, and the other opens with. Overwritten when it is dropped.
pub(crate) struct Secret {
    pub(crate) key: Zeroizing<[u8; KEY]>,
    pub(crate) salt: Zeroizing<[u8; SALT]>,
}

/// Both directions, as one end has them.
pub(crate) struct Secrets {
    pub(crate) sending: Secret,
    pub(crate) receiving: Secret,
}

impl Secret {
    /// Encrypts what follows the explicit part of the nonce, and adds the tag.
    fn seal<C>(&self, explicit: [u8; EXPLICIT], data: &[u8; 13], record: &mut Vec<u8>) -> Result<(), SendError>
    where
        C: AeadInOut<NonceSize = U12> + KeyInit + KeySizeUser<KeySize = U16>,
    {
        let body = record.get_mut(HEADER + EXPLICIT..).unwrap_or_default();
        let cipher = C::new((&*self.key).into());
        let sealed = cipher.encrypt_inout_detached(&self.nonce(explicit).into(), data, InOutBuf::from(body));
        // The ciphers refuse what is longer than 2^24 bytes or more, and nothing else.
        record.extend_from_slice(&sealed.map_err(|_| SendError::TooLarge)?);
        Ok(())
    }

    /// Decrypts in place. False: the tag is wrong.
    fn open<C>(&self, explicit: [u8; EXPLICIT], data: &[u8; 13], body: &mut [u8], tag: &[u8]) -> bool
    where
        C: AeadInOut<NonceSize = U12> + KeyInit + KeySizeUser<KeySize = U16>,
    {
        let Ok(tag) = Tag::<C>::try_from(tag) else { return false };
        let cipher = C::new((&*self.key).into());
        cipher.decrypt_inout_detached(&self.nonce(explicit).into(), data, InOutBuf::from(body), &tag).is_ok()
    }

    /// RFC 6655 §3, RFC 5288 §3: the salt, then what is sent.
    fn nonce(&self, explicit: [u8; EXPLICIT]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(self.salt.as_slice());
        nonce[4..].copy_from_slice(&explicit);
        nonce
    }
}

/// RFC 5246 §6.2.3.3, with epoch and number for the sequence number (RFC 6347 §4.1.2.1). The length is that of the plaintext.
fn additional_data(header: &[u8; HEADER], length: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&header[3..11]);
    data[8..11].copy_from_slice(&header[..3]);
    // Not longer than a record can be: its 16 bits have been looked at.
    data[11..].copy_from_slice(&(length as u16).to_be_bytes());
    data
}

/// The number of an alert after which nothing comes: a fatal one or close_notify (RFC 5246 §7.2).
pub(crate) fn last_alert(body: &[u8]) -> Option<u8> {
    match *body {
        [2, description] => Some(description),
        [_, 0] => Some(0),
        _ => None,
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("next", &self.next).field("window", &self.window).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
