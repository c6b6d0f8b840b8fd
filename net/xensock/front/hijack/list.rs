// SPDX-License-Identifier: GPL-2.0

//! A list of rules, with its text.

use crate::proto::rule::{
    words,
    IpProtocol,
    Rule,
    Unreadable, //
};
use core::{
    net::IpAddr,
    str::FromStr, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A list of rules.
pub(crate) struct List<T> {
    text: KVec<u8>,
    rules: KVec<T>,
}

impl<T> List<T> {
    /// Returns the text that the list was parsed from.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the rules.
    pub(crate) fn rules(&self) -> &[T] {
        &self.rules
    }
}

impl<T: FromStr<Err = Unreadable>> List<T> {
    /// Parses a list. Fails with `EINVAL` if the text is invalid.
    pub(super) fn parse(text: &[u8]) -> Result<Arc<Self>> {
        let mut list = Self {
            text: KVec::new(),
            rules: KVec::new(),
        };
        for rule in words(text) {
            list.rules.push(rule.map_err(|_| EINVAL)?, GFP_KERNEL)?;
        }
        list.text.extend_from_slice(text, GFP_KERNEL)?;
        Ok(Arc::new(list, GFP_KERNEL)?)
    }
}

impl List<Rule> {
    /// Returns `true` if any rule covers this address and port.
    pub(super) fn covers(&self, transport: IpProtocol, ip: IpAddr, port: u16) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.covers(transport, ip, port))
    }
}
