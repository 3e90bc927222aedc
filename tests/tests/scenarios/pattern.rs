//! Whether a datagram is as a script wants it.

use std::collections::BTreeMap;

use bytes::Bytes;
use coap_core::{Block, Code, Message, OptionNumber};

use crate::script::{BlockPattern, OptionValue, Pattern, PayloadLen, Read};
use crate::stage::{Sent, peer};

/// What a script has saved under a name.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub datagrams: BTreeMap<String, (Bytes, Message)>,
    pub options: BTreeMap<String, Vec<u8>>,
}

impl Saved {
    pub(crate) fn datagram(&self, name: &str) -> Read<&(Bytes, Message)> {
        self.datagrams.get(name).ok_or_else(|| format!("nothing is saved as {name}"))
    }

    pub(crate) fn value<'a>(&'a self, value: &'a OptionValue) -> Read<&'a [u8]> {
        match value {
            OptionValue::Bytes(bytes) => Ok(bytes),
            OptionValue::Saved(name) => self.option(name),
        }
    }

    fn option(&self, name: &str) -> Read<&[u8]> {
        self.options.get(name).map(Vec::as_slice).ok_or_else(|| format!("no option is saved as {name}"))
    }
}

impl Pattern {
    /// `Ok(None)`: it is as wanted. `Ok(Some)`: what is not. `Err`: the script is wrong.
    pub(crate) fn fault(&self, sent: &Sent, saved: &Saved) -> Read<Option<String>> {
        let message = &sent.message;
        let id = u64::from(message.message_id);
        let values = |number: &u16| message.options.get_all(OptionNumber::new(*number)).collect::<Vec<_>>();
        let mut faults = Vec::new();
        let mut want = |what: &str, holds: bool| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        if let Some(to) = &self.to {
            want("to", sent.to == peer(to)?);
        }
        if let Some(kinds) = &self.kind {
            want("type", kinds.contains(&message.kind.to_string()));
        }
        if let Some(codes) = &self.code {
            want("code", codes.contains(&dotted(message.code)));
        }
        want("mid", self.mid.is_none_or(|mid| mid == id));
        want("mid_not", self.mid_not.is_none_or(|mid| mid != id));
        for name in &self.mid_not_of {
            want("mid_not_of", saved.datagram(name)?.1.message_id != message.message_id);
        }
        let token = message.token.as_bytes();
        want("token", self.token.as_ref().is_none_or(|wanted| wanted == token));
        if let Some(name) = &self.token_of {
            want("token_of", saved.datagram(name)?.1.token == message.token);
        }
        for name in &self.token_not_of {
            want("token_not_of", saved.datagram(name)?.1.token != message.token);
        }
        want("token_len", self.token_len.is_none_or(|(low, high)| (low..=high).contains(&(token.len() as u64))));
        want("exact_hex", self.exact.as_ref().is_none_or(|wanted| sent.bytes == *wanted));
        if let Some(name) = &self.same_as {
            want("same_as", saved.datagram(name)?.0 == sent.bytes);
        }
        want("options_present", self.options_present.iter().all(|number| !values(number).is_empty()));
        want("options_absent", self.options_absent.iter().all(|number| values(number).is_empty()));
        if let Some((number, value)) = &self.option_equals {
            want("option_equals", values(number) == [saved.value(value)?]);
        }
        if let Some((number, value)) = &self.option_differs {
            let value = saved.value(value)?;
            want("option_differs", values(number).len() == 1 && values(number) != [value]);
        }
        if let Some(name) = &self.observe_after {
            let before = saved.option(name)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            let newer = |ours: u32| (1..1 << 23).contains(&(ours.wrapping_sub(before) & 0xff_ffff));
            want("observe_after", message.options.observe().is_some_and(newer));
        }
        want("block1", self.block1.as_ref().is_none_or(|wanted| wanted.fits(message.options.block1())));
        want("block2", self.block2.as_ref().is_none_or(|wanted| wanted.fits(message.options.block2())));
        want("payload", self.payload.as_ref().is_none_or(|wanted| message.payload == *wanted));
        let len = message.payload.len() as u64;
        want(
            "payload_len",
            match &self.payload_len {
                None => true,
                Some(PayloadLen::Bytes(wanted)) => len == *wanted,
                Some(PayloadLen::Block) => message.options.block2().is_some_and(|block| len == block.size() as u64),
            },
        );
        let is_text = !message.payload.is_empty() && core::str::from_utf8(&message.payload).is_ok();
        want("payload_text", !self.payload_text || is_text);
        want("max_bytes", self.max_bytes.is_none_or(|most| sent.bytes.len() as u64 <= most));
        Ok((!faults.is_empty()).then(|| format!("{} of {message} to {}", faults.join(", "), sent.to)))
    }
}

impl BlockPattern {
    fn fits(&self, block: Option<Block>) -> bool {
        let Some(block) = block else { return false };
        let szx = u64::from(block.szx());
        self.num.is_none_or(|num| num == u64::from(block.num()))
            && self.more.is_none_or(|more| more == block.more())
            && self.szx.is_none_or(|wanted| wanted == szx)
            && self.szx_max.is_none_or(|most| szx <= most)
    }
}

/// A code as the scripts write it: `2.05`.
pub(crate) fn dotted(code: Code) -> String {
    code.dotted().to_string()
}
