//! From the master secret to the keys of the records (RFC 5246 §5 and §6.3).

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::record::{KEY, SALT, Secret, Secrets};
use crate::verify::Role;

/// The key and the salt of each direction. Overwritten when it is dropped.
pub(crate) struct KeyBlock(Zeroizing<[u8; 2 * (KEY + SALT)]>);

impl KeyBlock {
    /// RFC 5246 §6.3: the server's random comes first here.
    pub(crate) fn derive(master_secret: &[u8], client_random: &[u8], server_random: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; 2 * (KEY + SALT)]);
        prf(master_secret, &[b"key expansion", server_random, client_random], block.as_mut_slice());
        Self(block)
    }

    /// Both directions, for the end that is `role`.
    pub(crate) fn secrets(&self, role: Role) -> Secrets {
        match role {
            Role::Client => Secrets { sending: self.client(), receiving: self.server() },
            Role::Server => Secrets { sending: self.server(), receiving: self.client() },
        }
    }

    /// What the client seals with. There are no MAC keys in the block, as the cipher needs none (RFC 5246 §6.2.3.3).
    fn client(&self) -> Secret {
        self.secret(0)
    }

    /// What the server seals with.
    fn server(&self) -> Secret {
        self.secret(1)
    }

    /// Both keys are before both salts.
    fn secret(&self, end: usize) -> Secret {
        let mut secret = Secret { key: Zeroizing::new([0; KEY]), salt: Zeroizing::new([0; SALT]) };
        let (keys, salts) = self.0.split_at(2 * KEY);
        secret.key.iter_mut().zip(keys.iter().skip(end * KEY)).for_each(|(to, from)| *to = *from);
        secret.salt.iter_mut().zip(salts.iter().skip(end * SALT)).for_each(|(to, from)| *to = *from);
        secret
    }
}

/// RFC 5246 §5: P_SHA256, of a label and seed that come in pieces.
fn prf(secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let mut a: Option<Zeroizing<[u8; 32]>> = None;
    for block in out.chunks_mut(32) {
        let next = match &a {
            None => hmac(secret, seed),
            Some(a) => hmac(secret, &[a.as_slice()]),
        };
        let pieces: Vec<&[u8]> = core::iter::once(next.as_slice()).chain(seed.iter().copied()).collect();
        block.iter_mut().zip(hmac(secret, &pieces).iter()).for_each(|(to, from)| *to = *from);
        a = Some(next);
    }
}

fn hmac(key: &[u8], pieces: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // unwrap: HMAC takes keys of any length.
    #[allow(clippy::unwrap_used, reason = "it cannot fail")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    pieces.iter().for_each(|piece| mac.update(piece));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

impl fmt::Debug for KeyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBlock(..)")
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// The vector for P_SHA256 that was published on the mailing list of the TLS working group, and that other libraries test with.
    #[test]
    fn the_prf_gives_what_was_published() {
        let mut out = [0; 100];
        prf(
            &hex!("9bbe436ba940f017b17652849a71db35"),
            &[b"test label", &hex!("a0ba9f936cda311827a6f796ffd5198c")],
            &mut out,
        );
        assert_eq!(
            out,
            hex!(
                "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af"
                "0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
                "87347b66"
            )
        );
    }

    #[test]
    fn the_block_is_cut_keys_first() {
        let block = KeyBlock::derive(&[1; 48], &[2; 32], &[3; 32]);
        let mut all = block.client().key.to_vec();
        all.extend(block.server().key.iter());
        all.extend(block.client().salt.iter());
        all.extend(block.server().salt.iter());
        assert_eq!(all, block.0.to_vec());
        let mut out = [0; 40];
        prf(&[1; 48], &[b"key expansion", &[3; 32], &[2; 32]], &mut out);
        assert_eq!(all, out);
    }

    #[test]
    fn keys_are_not_printed() {
        let block = KeyBlock::derive(&[1; 48], &[2; 32], &[3; 32]);
        assert_eq!(format!("{block:?} {:?}", block.client()), "KeyBlock(..) Secret(..)");
    }
}
