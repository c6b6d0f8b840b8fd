// SPDX-License-Identifier: GPL-2.0

//! The xenstore nodes of a device, and what they may hold.

use core::ffi::CStr;

use super::{
    ring::Order,
    Dialect, //
};

/// Backend: the protocol versions it speaks, separated by commas.
pub const VERSIONS: &CStr = c"versions";

/// Backend: the largest data ring it maps, as an order of pages.
pub const MAX_PAGE_ORDER: &CStr = c"max-page-order";

/// Backend, `pvcalls` only: 1 when it has all commands.
pub const FUNCTION_CALLS: &CStr = c"function-calls";

/// Backend: 1 when it honours event indexes, see [`super::ring::crossed`].
pub const FEATURE_EVENT_INDEX: &CStr = c"feature-event-index";

/// Frontend: the protocol version it has chosen.
pub const VERSION: &CStr = c"version";

/// Frontend: the event channel of the commands ring.
pub const PORT: &CStr = c"port";

/// Frontend: the grant of the page of the commands ring.
pub const RING_REF: &CStr = c"ring-ref";

/// Frontend: 1 when it uses event indexes, which the backend must have offered.
pub const EVENT_INDEX: &CStr = c"event-index";

/// The only version there is, of both dialects.
pub const THE_VERSION: &CStr = c"1";

/// The value of [`FUNCTION_CALLS`] which means socket, connect, release, bind, listen, accept, poll.
pub const ALL_CALLS: u32 = 1;

/// Returns whether a list as in [`VERSIONS`] has version 1.
///
/// # Examples
///
/// ```
/// # use xensock_hosttest::proto::node::has_version_1;
/// assert!(has_version_1(b"1"));
/// assert!(has_version_1(b"3, 1"));
/// assert!(!has_version_1(b"11"));
/// ```
pub fn has_version_1(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|version| version.trim_ascii() == b"1")
}

/// What a backend offers in its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest data ring.
    pub max_order: Order,
    /// Whether it honours event indexes.
    pub event_index: bool,
}

impl Offer {
    /// Returns what a frontend makes of the nodes that it has read, each [`None`] if it is absent.
    ///
    /// [`None`] means that the two have no protocol in common. A larger order than the protocol
    /// allows counts as the largest, and event indexes exist in the native dialect only.
    pub fn read(
        dialect: Dialect,
        versions: &[u8],
        max_page_order: u32,
        function_calls: Option<u32>,
        event_index: Option<u32>,
    ) -> Option<Self> {
        if !has_version_1(versions) {
            return None;
        }
        if dialect == Dialect::PvCalls && function_calls != Some(ALL_CALLS) {
            return None;
        }
        Some(Self {
            max_order: Order::new(max_page_order.min(Order::MAX.get()))?,
            event_index: dialect == Dialect::XenSock && event_index == Some(1),
        })
    }
}
