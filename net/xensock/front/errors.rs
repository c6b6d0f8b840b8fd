// SPDX-License-Identifier: GPL-2.0

//! What errors of this end or of the backend mean for a socket.

use kernel::prelude::*;

/// Returns `true` if an error says that memory, pages or grants have run out.
pub(crate) fn is_out_of_memory(error: Error) -> bool {
    matches!(error, ENOMEM | ENOBUFS | ENOSPC)
}

/// Returns `true` if an error says that the backend or the guest has no more of something, or that
/// the user has used up its share.
pub(crate) fn is_shortage(error: Error) -> bool {
    is_out_of_memory(error) || matches!(error, EMFILE | ENFILE | EDQUOT)
}

/// Returns `true` if what has kept a socket from being set up again may pass by itself, so that the
/// socket has to be tried again later: nobody has done anything to the socket.
///
/// The domain of a backend that `is_new` may still be booting, and have no addresses and routes
/// yet.
pub(crate) fn may_pass(error: Error, is_new: bool) -> bool {
    is_shortage(error) || (is_new && matches!(error, EADDRNOTAVAIL | ENETUNREACH | ENODEV))
}

/// Returns `true` if an error says that there is nothing to ask: the socket has ended, its link is
/// down, or the dialect does not have the request. Only then can a call do without the response.
pub(crate) fn has_nothing_to_ask(error: Error) -> bool {
    matches!(error, EBADF | ENOTCONN | ENETDOWN | EOPNOTSUPP)
}
