//! The ciphers of DTLS 1.2 with AES-128, which tell what they are given: a session goes on without the library then.
//!
//! They keep the key and not its expansion (704 bytes, and more for GCM, for each direction), and overwrite it at the end.

use core::fmt;
use core::marker::PhantomData;
use std::sync::LazyLock;

use aes::Aes128;
use aes_gcm::Aes128Gcm;
use ccm::Ccm;
use ccm::aead::{AeadInOut, KeyInit, KeySizeUser, Tag};
use ccm::consts::{U8, U12, U16};
use dimpl::crypto::{Aad, Buf, Cipher, Dtls12CipherSuite, Nonce, SupportedDtls12CipherSuite, TmpBuf};
use dimpl::{CryptoError, CryptoOperation, HashAlgorithm};
use zeroize::Zeroizing;

use super::provider::{BASE, taken};
use crate::record::{self, KEY};

/// The suites of the library, in its order, with these ciphers where there is one.
pub(super) fn suites() -> &'static [&'static dyn SupportedDtls12CipherSuite] {
    static SUITES: LazyLock<Vec<&'static dyn SupportedDtls12CipherSuite>> =
        LazyLock::new(|| BASE.cipher_suites.iter().map(|suite| ours(suite.suite()).unwrap_or(*suite)).collect());
    &SUITES
}

fn ours(suite: Dtls12CipherSuite) -> Option<&'static dyn SupportedDtls12CipherSuite> {
    match suite {
        Dtls12CipherSuite::PSK_AES128_CCM_8 => Some(&PSK_CCM_8),
        Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256 => Some(&ECDSA_GCM),
        _ => None,
    }
}

/// RFC 6655 §4.
static PSK_CCM_8: Suite = Suite {
    suite: Dtls12CipherSuite::PSK_AES128_CCM_8,
    tag: 8,
    records: record::Cipher::Aes128Ccm8,
    create: Key::<Ccm<Aes128, U8, U12>>::create,
};

/// RFC 5289 §3.2.
static ECDSA_GCM: Suite = Suite {
    suite: Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
    tag: 16,
    records: record::Cipher::Aes128Gcm,
    create: Key::<Aes128Gcm>::create,
};

type Create = fn([u8; KEY]) -> Box<dyn Cipher>;

#[derive(Debug)]
struct Suite {
    suite: Dtls12CipherSuite,
    tag: usize,
    /// What it is in our own records.
    records: record::Cipher,
    create: Create,
}

impl SupportedDtls12CipherSuite for Suite {
    fn suite(&self) -> Dtls12CipherSuite {
        self.suite
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    /// Of the MAC, of the cipher, and of the nonce's part that is not sent.
    fn key_lengths(&self) -> (usize, usize, usize) {
        (0, KEY, 4)
    }

    fn explicit_nonce_len(&self) -> usize {
        8
    }

    fn tag_len(&self) -> usize {
        self.tag
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let key = key.try_into().map_err(|_| CryptoError::OperationFailed(CryptoOperation::CreateCipher))?;
        taken(|taken| taken.made(self.records, key));
        Ok((self.create)(key))
    }
}

/// The key of one direction, for the cipher `C`. Overwritten when it is dropped.
struct Key<C> {
    key: Zeroizing<[u8; KEY]>,
    cipher: PhantomData<fn() -> C>,
}

impl<C> Key<C>
where
    C: AeadInOut<NonceSize = U12> + KeyInit + KeySizeUser<KeySize = U16> + 'static,
{
    fn create(key: [u8; KEY]) -> Box<dyn Cipher> {
        Box::new(Self { key: Zeroizing::new(key), cipher: PhantomData })
    }

    fn expanded(&self) -> C {
        C::new((&*self.key).into())
    }
}

impl<C> Cipher for Key<C>
where
    C: AeadInOut<NonceSize = U12> + KeyInit + KeySizeUser<KeySize = U16> + 'static,
{
    fn encrypt(&mut self, plaintext: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let sealed = self.expanded().encrypt_inout_detached(&nonce.0.into(), &aad, plaintext.as_mut().into());
        plaintext.extend_from_slice(&sealed.map_err(|_| CryptoError::OperationFailed(CryptoOperation::Encrypt))?);
        taken(|taken| taken.sealed(&aad, &nonce));
        Ok(())
    }

    fn decrypt(&mut self, ciphertext: &mut TmpBuf<'_>, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let failed = || CryptoError::OperationFailed(CryptoOperation::Decrypt);
        let length = ciphertext.len().checked_sub(Tag::<C>::default().len()).ok_or_else(failed)?;
        let (body, tag) = ciphertext.as_mut().split_at_mut(length);
        let tag = Tag::<C>::try_from(&*tag).map_err(|_| failed())?;
        self.expanded().decrypt_inout_detached(&nonce.0.into(), &aad, body.into(), &tag).map_err(|_| failed())?;
        ciphertext.truncate(length);
        taken(|taken| taken.opened(&aad, &nonce));
        Ok(())
    }
}

impl<C> fmt::Debug for Key<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [&dyn SupportedDtls12CipherSuite; 2] = [&PSK_CCM_8, &ECDSA_GCM];

    /// That of the library.
    fn theirs(suite: Dtls12CipherSuite) -> &'static dyn SupportedDtls12CipherSuite {
        *BASE.cipher_suites.iter().find(|base| base.suite() == suite).unwrap()
    }

    fn aad() -> Aad {
        Aad((0..13).collect())
    }

    fn sealed(cipher: &mut dyn Cipher, plaintext: &[u8]) -> Vec<u8> {
        let mut buf = Buf::new();
        buf.extend_from_slice(plaintext);
        cipher.encrypt(&mut buf, aad(), Nonce([3; 12])).unwrap();
        buf.into_vec()
    }

    fn opened(cipher: &mut dyn Cipher, record: &[u8]) -> Option<Vec<u8>> {
        let mut record = record.to_vec();
        let mut buf = TmpBuf::new(&mut record);
        cipher.decrypt(&mut buf, aad(), Nonce([3; 12])).ok()?;
        Some(buf.as_ref().to_vec())
    }

    #[test]
    fn a_suite_says_of_itself_what_the_library_says() {
        for ours in SUITES {
            let theirs = theirs(ours.suite());
            assert_eq!(
                (ours.hash_algorithm(), ours.key_lengths(), ours.explicit_nonce_len(), ours.tag_len()),
                (theirs.hash_algorithm(), theirs.key_lengths(), theirs.explicit_nonce_len(), theirs.tag_len())
            );
        }
        let names =
            |suites: &[&dyn SupportedDtls12CipherSuite]| suites.iter().map(|one| one.suite()).collect::<Vec<_>>();
        assert_eq!(names(suites()), names(BASE.cipher_suites));
    }

    #[test]
    fn records_are_those_of_the_library() {
        for ours in SUITES {
            let (mut theirs, mut ours) =
                (theirs(ours.suite()).create_cipher(&[7; 16]).unwrap(), ours.create_cipher(&[7; 16]).unwrap());
            for plaintext in [&b""[..], b"a", &[5; 1_300]] {
                let record = sealed(&mut *theirs, plaintext);
                assert_eq!(sealed(&mut *ours, plaintext), record);
                assert_eq!(opened(&mut *ours, &record).as_deref(), Some(plaintext));
            }
        }
    }

    #[test]
    fn a_record_that_was_touched_or_is_too_short_is_refused() {
        for suite in SUITES {
            let mut cipher = suite.create_cipher(&[7; 16]).unwrap();
            let record = sealed(&mut *cipher, b"hello");
            for place in 0..record.len() {
                let mut touched = record.clone();
                touched[place] ^= 1;
                assert_eq!(opened(&mut *cipher, &touched), None);
                assert_eq!(opened(&mut *cipher, &record[..place]), None);
            }
        }
    }

    #[test]
    fn keys_have_their_length_and_are_not_printed() {
        for suite in SUITES {
            assert!(suite.create_cipher(&[7; 15]).is_err());
            assert!(suite.create_cipher(&[7; 32]).is_err());
            assert_eq!(format!("{:?}", suite.create_cipher(&[7; 16]).unwrap()), "Key(..)");
        }
    }
}
