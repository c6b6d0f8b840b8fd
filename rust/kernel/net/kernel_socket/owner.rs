// SPDX-License-Identifier: GPL-2.0

//! On whose behalf a kernel socket is used.

use super::{
    KernelSocket,
    Protocol, //
};

use crate::{
    bindings,
    cred::Credential,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use core::ptr::NonNull;

/// A user without privileges to whom sockets belong.
///
/// Kernel threads may do everything. Whoever carries out with one what somebody else asks for, a
/// guest or a remote client, has each socket belong to an owner: what is done with it is then done
/// as if a program of that user did it, which is not root, is in no group that anybody else is in,
/// and has no capabilities. And to those who ask whose a socket is (`SO_REUSEPORT` shares a port
/// between sockets of the same user, rules of routing can be about users, and tools show it), it is
/// that user's.
///
/// # Invariants
///
/// Both credentials are those of the user, and do not change. `user` has no capabilities, and
/// `binder` none but `CAP_NET_BIND_SERVICE`.
///
/// # Examples
///
/// ```
/// use core::net::{
///     Ipv4Addr,
///     SocketAddr, //
/// };
/// use kernel::{
///     net::{
///         addr::Domain,
///         kernel_socket::{
///             KernelSocket,
///             Owner, //
///         },
///         namespace::Namespace,
///         sockopt::SOL_SOCKET, //
///     },
///     sync::Arc, //
/// };
///
/// const SO_MARK: i32 = 36;
///
/// let owner = Arc::new(Owner::new(0x7000_0001)?, GFP_KERNEL)?;
/// let mut socket = KernelSocket::stream(Namespace::init(), Domain::Inet)?;
///
/// socket.set_owner(owner);
/// assert_eq!(socket.set_option(SOL_SOCKET, SO_MARK, &1i32.to_ne_bytes()), Err(EPERM));
/// // Which ports are for whom is not the owner's concern.
/// socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1)))?;
/// assert!(Owner::new(u32::MAX).is_err());
/// # Ok::<(), Error>(())
/// ```
pub struct Owner {
    user: ARef<Credential>,
    binder: ARef<Credential>,
}

impl Owner {
    /// Creates an owner with the number of a user (and of a group) of the initial user namespace.
    ///
    /// It is for the caller to choose one that nobody else has. `EINVAL` if it stands for no user.
    pub fn new(user: u32) -> Result<Self> {
        if user == u32::MAX {
            return Err(EINVAL);
        }
        // INVARIANT: These are their capabilities.
        Ok(Self {
            user: credential(user, false)?,
            binder: credential(user, true)?,
        })
    }

    /// Has the current task do something as this user.
    pub(super) fn act<R>(&self, what: impl FnOnce() -> R) -> R {
        act_with(&self.user, what)
    }

    /// Has the current task do something as this user, who may have any port.
    pub(super) fn act_as_binder<R>(&self, what: impl FnOnce() -> R) -> R {
        act_with(&self.binder, what)
    }
}

/// Makes credentials of a user, with `CAP_NET_BIND_SERVICE` or without any capability.
fn credential(user: u32, may_bind: bool) -> Result<ARef<Credential>> {
    // SAFETY: May be called with any number.
    let cred = unsafe { bindings::prepare_user_cred(user, may_bind) };
    let cred = NonNull::new(cred).ok_or(ENOMEM)?;

    // SAFETY: The credentials are new, and the reference to them ours.
    Ok(unsafe { ARef::from_raw(cred.cast()) })
}

/// Has the current task do something with other credentials.
fn act_with<R>(cred: &Credential, what: impl FnOnce() -> R) -> R {
    // SAFETY: The credentials are valid, and are borrowed until they are taken back below. Only the
    // current task looks at what is replaced here.
    let before = unsafe { bindings::override_creds(cred.as_ptr()) };
    let result = what();

    // SAFETY: The task has had these before, and so a reference to them, which nobody has taken
    // away meanwhile: `what` has left the credentials as they were when it was called, like
    // everything in the kernel that overrides them for a while.
    unsafe { bindings::revert_creds(before) };
    result
}

/// Who owns the socket.
impl<P: Protocol> KernelSocket<P> {
    /// Gives the socket to an owner. Those that it accepts from now on belong to the same.
    ///
    /// A socket without owner belongs to who has made it, and is used with the privileges of the
    /// current task.
    pub fn set_owner(&mut self, owner: Arc<Owner>) {
        // SAFETY: The socket is valid by the type invariants, has no file, and nobody else uses it
        // now. The credentials are valid.
        unsafe { bindings::sock_set_owner(self.as_raw(), owner.user.as_ptr()) };
        self.owner = Some(owner);
    }

    /// Does something with the socket as its owner.
    pub(super) fn as_owner<R>(&self, what: impl FnOnce() -> R) -> R {
        match &self.owner {
            Some(owner) => owner.act(what),
            None => what(),
        }
    }

    /// Gives the socket an address as its owner.
    pub(super) fn as_binder<R>(&self, what: impl FnOnce() -> R) -> R {
        match &self.owner {
            Some(owner) => owner.act_as_binder(what),
            None => what(),
        }
    }
}
