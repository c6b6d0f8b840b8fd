// SPDX-License-Identifier: GPL-2.0

//! The xenstore nodes of a device, and what they may hold. Those of features are in
//! [`super::feature`].

use core::ffi::CStr;

use super::{
    feature::Features,
    ring::Order,
    Dialect, //
};

/// Backend: the protocol versions it speaks, separated by commas.
pub const VERSIONS: &CStr = c"versions";

/// Backend: the largest data ring it maps, as an order of pages.
pub const MAX_PAGE_ORDER: &CStr = c"max-page-order";

/// The least value of [`MAX_PAGE_ORDER`] with which the C frontend of PV Calls connects: the order of
/// its rings.
pub const PVCALLS_PAGE_ORDER: u32 = 4;

/// Backend, `pvcalls` only: 1 when it has all commands.
pub const FUNCTION_CALLS: &CStr = c"function-calls";

/// Frontend: the protocol version it has chosen.
pub const VERSION: &CStr = c"version";

/// Frontend: the event channel of the commands ring.
pub const PORT: &CStr = c"port";

/// Frontend: the grant of the page of the commands ring.
pub const RING_REF: &CStr = c"ring-ref";

/// Frontend, with [`super::Feature::SharedChannel`]: the event channel of the data rings.
pub const NEWS_PORT: &CStr = c"news-port";

/// Frontend, likewise: the grant of the [news page](super::news).
pub const NEWS_REF: &CStr = c"news-ref";

/// The only version there is, of both dialects.
pub const THE_VERSION: &CStr = c"1";

/// The value of [`FUNCTION_CALLS`] which means socket, connect, release, bind, listen, accept, poll.
pub const ALL_CALLS: u32 = 1;

/// Backend, `pvcalls` only: 1 when it can speak the native dialect on this device too.
pub const NATIVE_OFFERED: &CStr = c"feature-native";

/// Frontend, `pvcalls` only: 1 when the native dialect is spoken on this link.
pub const NATIVE_TAKEN: &CStr = c"native";

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
    /// The features it has.
    pub features: Features,
}

impl Offer {
    /// Returns what a frontend makes of the nodes that it has read.
    ///
    /// [`None`] means that the two have no protocol in common. `function_calls` is [`None`] if the
    /// node is absent. A larger order than the protocol allows counts as the largest.
    pub fn read(
        dialect: Dialect,
        versions: &[u8],
        max_page_order: u32,
        function_calls: Option<u32>,
        features: Features,
    ) -> Option<Self> {
        if !has_version_1(versions) {
            return None;
        }
        if dialect == Dialect::PvCalls && function_calls != Some(ALL_CALLS) {
            return None;
        }
        Some(Self {
            max_order: Order::new(max_page_order.min(Order::MAX.get()))?,
            features,
        })
    }
}
