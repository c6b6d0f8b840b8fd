// SPDX-License-Identifier: GPL-2.0

//! The link: the step of an end after the other end's xenbus state has changed.
//!
//! Each end has its own state, in a xenstore node that only it writes, and watches the other end's
//! state. A watch says that the state *has been* written: states in between may be missed, and the
//! same state may be seen twice. So each table is total, and handles every state that the other end
//! may have reached unseen. Each action leads to a state from which the next look continues.
//!
//! # Rules for the drivers
//!
//! - In `probe`, write `Initialising` if the own state is another (the module was loaded again),
//!   then do [`back_probe`]; xenbus itself makes the first report of the other end's state.
//! - On every report, read the other end's state, act, and repeat until the action is `Ignore`. The
//!   repetition matters: after a `Reset` there may already be an offer to connect to.
//! - An action that sets something up first drops the rest of an earlier link. So does a frontend
//!   that finds itself `Initialising` with a link: xenbus writes that when a domain is restored, and
//!   the new backend may offer nothing for a long time.
//! - Whatever fails for the moment, see [`is_lasting`], is looked at again after a second, as for a
//!   report. The own state stays as it is until then.
//! - A backend whose `Connect` fails for good reports that (`xenbus_dev_error()`), keeps nothing,
//!   stays `InitWait` and waits for the next report. The usual reason is a frontend that has gone
//!   meanwhile, and perhaps come back: it may be answering the same offer.
//! - Any other action that fails for good, and a peer that breaks the protocol, lead to tearing down and
//!   writing `Closing` (`xenbus_dev_fatal()`). Such a link comes back only when one of the two
//!   drivers is loaded again or the device is made anew: a fault never becomes a loop.
//! - In `unbind`, tear down; xenbus then writes `Closed`.
//!
//! `tools/hosttest/tests/link.rs` explores all interleavings of both machines while modules come
//! and go, ends fail and devices are removed, and shows where they come to rest.

use super::{
    errno,
    Dialect, //
};

/// A xenbus state, with the numbers that are in xenstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndState {
    /// No state: the node is gone, or was never written.
    Unknown = 0,
    /// The device exists. Its driver may be there, and offers or asks for nothing yet.
    Initialising = 1,
    /// The backend has written its offer. The offer stands until it is taken.
    InitWait = 2,
    /// The frontend has written the location of its ring.
    Initialised = 3,
    /// The link is up.
    Connected = 4,
    /// The end wants the link to end, and does not use the other end's resources any more.
    Closing = 5,
    /// The end is done.
    Closed = 6,
    /// Not used by this protocol.
    Reconfiguring = 7,
    /// Not used by this protocol.
    Reconfigured = 8,
}

impl EndState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// Returns the state with this number; an unknown number is [`EndState::Unknown`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| state.number() == number)
            .unwrap_or(Self::Unknown)
    }

    /// Returns the number in xenstore.
    pub const fn number(self) -> u32 {
        // CAST: The discriminants are given above.
        self as u32
    }
}

/// An action of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontAction {
    /// Nothing: wait for the next report.
    Ignore,
    /// Read the offer, set up the commands ring, write its location, go `Initialised`.
    Connect,
    /// Take the link into use, go `Connected`.
    Connected,
    /// Tear down, go `Closed` (`xenbus_frontend_closed()`).
    Close,
    /// Tear down, go `Initialising`: there is a new backend.
    Reset,
}

/// Returns the action of a frontend in state `own` that reads the backend's state `other`.
pub const fn front_next(own: EndState, other: EndState) -> FrontAction {
    match (own, other) {
        // The offer. Every other state is the rest of an earlier link, or not an offer yet.
        (EndState::Initialising, EndState::InitWait) => FrontAction::Connect,
        (EndState::Initialising, _) => FrontAction::Ignore,

        (EndState::Initialised, EndState::Connected) => FrontAction::Connected,
        // The backend had made its offer before we came here, so this is another backend; it may
        // offer less.
        (EndState::Initialised, EndState::Initialising) => FrontAction::Reset,

        // The backend was connected before we were, so this is another backend: it has no ring of
        // ours.
        (EndState::Connected, EndState::Initialising | EndState::InitWait) => FrontAction::Reset,

        (
            EndState::Initialised | EndState::Connected,
            EndState::Closing | EndState::Closed | EndState::Unknown,
        ) => FrontAction::Close,

        // We have asked for the end, which is reached once the backend uses nothing of ours. An
        // offer is not an answer to that: a link that we could not set up must not begin again by
        // itself.
        (
            EndState::Closing,
            EndState::Closing | EndState::Closed | EndState::Unknown | EndState::Initialising,
        ) => FrontAction::Close,

        // A new backend. (A backend that has stayed does not enter these states by itself.)
        (EndState::Closed, EndState::Initialising | EndState::InitWait) => FrontAction::Reset,

        _ => FrontAction::Ignore,
    }
}

/// An action of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackAction {
    /// Nothing: wait for the next report.
    Ignore,
    /// Tear down, write the offer, go `InitWait`.
    Offer,
    /// Read the location of the ring, map and bind it, go `Connected`; for a failure see above.
    Connect,
    /// Read the location of the ring. If it is not the ring in use, there is a new frontend: change
    /// to its ring. Stay `Connected`.
    Recheck,
    /// Tear down, go `Closing`, wait for the frontend to finish.
    Disconnect,
    /// Tear down, go `Closed`.
    Close,
    /// Tear down and remove the own directory in xenstore: the frontend's directory is gone,
    /// because its domain is gone or the toolstack has removed it.
    Remove,
}

/// Returns the action of a backend at the end of `probe`.
///
/// The native dialect waits for a frontend that asks. The C frontend of PV Calls reads the offer
/// when it is loaded, and never again, so there the offer must be made at once.
pub const fn back_probe(dialect: Dialect) -> BackAction {
    match dialect {
        Dialect::XenSock => BackAction::Ignore,
        Dialect::PvCalls => BackAction::Offer,
    }
}

/// Returns the action of a backend in state `own` that reads the frontend's state `other`.
///
/// `online` is the node of this name in the backend's directory, by which the toolstack says if it
/// wants the device (`xenbus_dev_is_online()`).
pub const fn back_next(own: EndState, other: EndState, online: bool) -> BackAction {
    match (own, other) {
        // A device that is to go is not offered to any frontend. The toolstack waits for `Closed`,
        // and removes both directories itself.
        (EndState::Closed, EndState::Initialising | EndState::Initialised | EndState::Unknown)
            if !online =>
        {
            BackAction::Ignore
        }
        (_, EndState::Initialising | EndState::Unknown) if !online => BackAction::Close,

        // A frontend of an earlier backend notices us, and enters this state.
        (EndState::Initialising, EndState::Initialising) => BackAction::Offer,
        (EndState::Initialising, _) => BackAction::Ignore,

        (_, EndState::Unknown) => BackAction::Remove,

        (EndState::InitWait, EndState::Initialised) => BackAction::Connect,
        // Nothing is in use, and the frontend may have seen the offer: withdrawing it now would
        // cross with its answer.
        (EndState::InitWait, EndState::Closed) if !online => BackAction::Close,
        // `Connected` too is a state of an earlier link; the frontend resets when it sees the
        // offer.
        (EndState::InitWait, _) => BackAction::Ignore,

        // Usually an echo; but the frontend may have been loaded again while we were connecting.
        (EndState::Connected, EndState::Initialised | EndState::Connected) => BackAction::Recheck,
        // We missed the end of the earlier frontend.
        (EndState::Connected | EndState::Closing | EndState::Closed, EndState::Initialising) => {
            BackAction::Offer
        }
        (EndState::Connected, EndState::Closing) => BackAction::Disconnect,
        (EndState::Connected | EndState::Closing, EndState::Closed) => BackAction::Close,

        // The C frontend comes back without being `Initialising` first.
        (EndState::Closed, EndState::Initialised) => BackAction::Offer,

        _ => BackAction::Ignore,
    }
}

/// Returns `true` if an action that has failed with this (positive) number would fail again until
/// the other end, or an administrator, does something: the number says what is wrong with the nodes
/// or the memory of the other end.
///
/// All other failures are of the moment: memory, grants, event channels or mappings were short, or
/// xenstore was busy. They say nothing about the other end, and must not end its link for good. A
/// number that is not known here counts as such: to try again costs little.
pub const fn is_lasting(number: i32) -> bool {
    matches!(
        number,
        errno::EPERM
            | errno::ENOENT
            | errno::ESRCH
            | errno::E2BIG
            | errno::EACCES
            | errno::ENODEV
            | errno::EINVAL
            | errno::ERANGE
            | errno::EPROTO
            | errno::EOPNOTSUPP
    )
}
