// SPDX-License-Identifier: GPL-2.0

//! The user on whose behalf a kernel socket is used.

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

/// An unprivileged user who owns sockets.
///
/// Kernel threads may do everything. A thread that carries out the requests of a guest or a remote
/// client should give each socket an owner: operations on the socket then run as if by a program of
/// that user, who is not root, is in a group of its own, and has no capabilities. The socket also
/// belongs to that user for all code that checks a socket's user: `SO_REUSEPORT` shares a port
/// between sockets of the same user, routing rules can depend on the user, and tools show it.
///
/// # Invariants
///
/// Both credentials belong to the user, and do not change. `user` has no capabilities, and `binder`
/// has none but `CAP_NET_BIND_SERVICE`.
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
/// // An owner may bind to any port.
/// socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1)))?;
/// assert!(Owner::new(u32::MAX).is_err());
/// # Ok::<(), Error>(())
/// ```
pub struct Owner {
    user: ARef<Credential>,
    binder: ARef<Credential>,
}

impl Owner {
    /// Creates an owner from a user ID, which is also its group ID, in the initial user namespace.
    ///
    /// The caller must choose an ID that is not otherwise in use. Fails with `EINVAL` if the ID is
    /// not valid.
    pub fn new(user: u32) -> Result<Self> {
        if user == u32::MAX {
            return Err(EINVAL);
        }
        // INVARIANT: `credential` returns credentials with these capabilities.
        Ok(Self {
            user: credential(user, false)?,
            binder: credential(user, true)?,
        })
    }

    /// Calls `what` with the credentials of this user.
    pub(super) fn act<R>(&self, what: impl FnOnce() -> R) -> R {
        act_with(&self.user, what)
    }

    /// Calls `what` with the credentials of this user, who may bind to any port.
    pub(super) fn act_as_binder<R>(&self, what: impl FnOnce() -> R) -> R {
        act_with(&self.binder, what)
    }
}

/// Creates credentials of a user, with `CAP_NET_BIND_SERVICE` or without any capability.
fn credential(user: u32, may_bind: bool) -> Result<ARef<Credential>> {
    // SAFETY: This may be called with any number.
    let cred = unsafe { bindings::prepare_user_cred(user, may_bind) };
    let cred = NonNull::new(cred).ok_or(ENOMEM)?;

    // SAFETY: The credentials are new, and we own the reference to them.
    Ok(unsafe { ARef::from_raw(cred.cast()) })
}

/// Calls `what` with other credentials of the current task.
fn act_with<R>(cred: &Credential, what: impl FnOnce() -> R) -> R {
    // SAFETY: The credentials are valid, and are borrowed until they are reverted below. Only the
    // current task uses its overridden credentials.
    let before = unsafe { bindings::override_creds(cred.as_ptr()) };
    let result = what();

    // SAFETY: The task had the credentials `before`, and thus a reference to them, which is still
    // there: `what` has left the credentials as it found them, like all code in the kernel that
    // overrides them temporarily.
    unsafe { bindings::revert_creds(before) };
    result
}

/// Ownership.
impl<P: Protocol> KernelSocket<P> {
    /// Sets the owner of the socket, and of the connections that it accepts from now on.
    ///
    /// A socket without an owner belongs to the task that created it, and is used with the
    /// privileges of the current task.
    pub fn set_owner(&mut self, owner: Arc<Owner>) {
        // SAFETY: The socket is valid by the type invariants, has no file, and is not otherwise in
        // use during this call, which has exclusive access. The credentials are valid.
        unsafe { bindings::sock_set_owner(self.as_raw(), owner.user.as_ptr()) };
        self.owner = Some(owner);
    }

    /// Calls `what`, which uses the socket, with the owner's credentials.
    pub(super) fn as_owner<R>(&self, what: impl FnOnce() -> R) -> R {
        match &self.owner {
            Some(owner) => owner.act(what),
            None => what(),
        }
    }

    /// Calls `what`, which binds the socket to an address, with the owner's credentials.
    pub(super) fn as_binder<R>(&self, what: impl FnOnce() -> R) -> R {
        match &self.owner {
            Some(owner) => owner.act_as_binder(what),
            None => what(),
        }
    }
}
