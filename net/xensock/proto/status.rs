// SPDX-License-Identifier: GPL-2.0

//! The status words: the outcome of a CONNECT or an ACCEPT that was answered at once.
//!
//! With [`super::Feature::Status`] the response to these requests only says that the backend has
//! begun to perform them, so a request that takes long holds no slot of the commands ring. The
//! indexes page of the data ring reports the outcome, in words that only the backend writes: first
//! the address that belongs to it, then, with a release store, the status, once. Then the backend
//! notifies the frontend.

use core::net::SocketAddr;

use super::{
    addr::{
        self,
        BadAddr, //
    },
    errno,
    indexes::{
        NAME,
        NAME_LEN,
        STATUS, //
    },
    stream::SharedWords,
    Dialect, //
};

/// The value of the status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not decided yet.
    Pending,
    /// The connection is established, and the name is there.
    Established,
    /// There is no connection; the (positive) number is the reason. Only RELEASE can follow.
    Failed(i32),
    /// A value that no backend writes: the socket fails with [`errno::EPROTO`].
    Nonsense,
}

impl Outcome {
    /// Reads a status word.
    pub const fn from_wire(word: i32) -> Self {
        match word {
            0 => Self::Pending,
            1 => Self::Established,
            2.. => Self::Nonsense,
            _ => Self::Failed(errno::final_from_wire(word)),
        }
    }

    /// Returns the status word.
    ///
    /// A failure never reads as another outcome. [`Outcome::Nonsense`] has no word of its own, and
    /// becomes a failure.
    pub const fn to_wire(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Established => 1,
            Self::Failed(number) => match errno::to_wire(number) {
                0 => -errno::EIO,
                word => word,
            },
            Self::Nonsense => -errno::EPROTO,
        }
    }
}

/// Returns the outcome so far. If it is [`Outcome::Established`], [`name`] may be called.
pub fn load(words: &impl SharedWords) -> Outcome {
    let word = words.load_acquire(STATUS);

    Outcome::from_wire(i32::from_le_bytes(word.to_le_bytes()))
}

/// Returns a copy of the name: for CONNECT the local address, for ACCEPT the peer's.
///
/// To be called once: the backend can change it at any time. If it is not an address, the socket
/// fails with [`errno::EPROTO`].
pub fn name(words: &impl SharedWords) -> Result<SocketAddr, BadAddr> {
    let mut bytes = [0; addr::LEN];

    for (offset, chunk) in (NAME..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
        chunk.copy_from_slice(&words.load(offset).to_le_bytes());
    }
    addr::decode(Dialect::XenSock, &bytes, words.load(NAME_LEN))
}

/// Reports that the connection is established. For the backend only, once. The caller has to notify
/// the peer afterwards.
pub fn establish(words: &impl SharedWords, name: &SocketAddr) {
    // The native dialect can express all addresses.
    if let Some((bytes, len)) = addr::encode(Dialect::XenSock, name) {
        for (offset, chunk) in (NAME..).step_by(4).zip(bytes.chunks_exact(4)) {
            let mut word = [0; 4];
            word.copy_from_slice(chunk);
            words.store(offset, u32::from_le_bytes(word));
        }
        words.store(NAME_LEN, len);
    }
    store(words, Outcome::Established);
}

/// Reports that there will be no connection, with a positive error number. For the backend only,
/// once. The caller has to notify the peer afterwards.
pub fn fail(words: &impl SharedWords, number: i32) {
    store(words, Outcome::Failed(number));
}

/// Stores the status word, after all words that belong to it.
fn store(words: &impl SharedWords, outcome: Outcome) {
    words.store_release(STATUS, u32::from_le_bytes(outcome.to_wire().to_le_bytes()));
}
