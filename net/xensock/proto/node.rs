// SPDX-License-Identifier: GPL-2.0

//! The xenstore nodes of a device, and their values. The nodes of features are in
//! [`super::feature`].

use core::ffi::CStr;

use super::{
    feature::Features,
    ring::Order,
    Dialect, //
};

/// Backend: the supported protocol versions, separated by commas.
pub const VERSIONS: &CStr = c"versions";

/// Backend: the order of the largest data ring that it maps.
pub const MAX_PAGE_ORDER: &CStr = c"max-page-order";

/// The smallest value of [`MAX_PAGE_ORDER`] with which the C frontend of PV Calls connects: the
/// order of its rings.
pub const PVCALLS_PAGE_ORDER: u32 = 4;

/// Backend, `pvcalls` only: 1 if it has all commands.
pub const FUNCTION_CALLS: &CStr = c"function-calls";

/// Frontend: the protocol version that it has chosen.
pub const VERSION: &CStr = c"version";

/// Frontend: the event channel of the commands ring.
pub const PORT: &CStr = c"port";

/// Frontend: the grant of the page of the commands ring.
pub const RING_REF: &CStr = c"ring-ref";

/// Frontend, with [`super::Feature::SharedChannel`]: the event channel of the data rings.
pub const NEWS_PORT: &CStr = c"news-port";

/// Frontend, with [`super::Feature::SharedChannel`]: the grant of the [news page](super::news).
pub const NEWS_REF: &CStr = c"news-ref";

/// The only version of both dialects.
pub const THE_VERSION: &CStr = c"1";

/// The value of [`FUNCTION_CALLS`] for socket, connect, release, bind, listen, accept and poll.
pub const ALL_CALLS: u32 = 1;

/// Backend, `pvcalls` only: 1 if it supports the native dialect on this device too.
pub const NATIVE_OFFERED: &CStr = c"feature-native";

/// Backend, `pvcalls` only: the order of the largest data ring of a link that uses the native
/// dialect. Without this node, [`MAX_PAGE_ORDER`] says it.
pub const NATIVE_MAX_PAGE_ORDER: &CStr = c"native-max-page-order";

/// Frontend, `pvcalls` only: 1 if this link uses the native dialect.
pub const NATIVE_TAKEN: &CStr = c"native";

/// Returns `true` if a list as in [`VERSIONS`] has version 1.
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

/// A backend's offer in its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest order of a data ring.
    pub max_order: Order,
    /// The offered features.
    pub features: Features,
}

impl Offer {
    /// Returns the offer in the nodes that a frontend has read.
    ///
    /// [`None`] means that the two ends have no protocol in common. `function_calls` is [`None`] if
    /// the node is absent. A larger order than the protocol allows counts as the largest.
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
