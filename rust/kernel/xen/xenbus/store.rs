// SPDX-License-Identifier: GPL-2.0

//! xenstore nodes of a device.
//!
//! A device may write its own directory, and read both its own and the other end's. The other end's
//! directory was written by a possibly hostile peer: this module bounds its contents, and the
//! caller must check them.
//!
//! C header: [`include/xen/xenbus.h`](srctree/include/xen/xenbus.h)

mod directory;

pub use self::directory::{
    Directory,
    Names, //
};

use super::Device;

use crate::{
    bindings,
    device,
    error::to_result,
    fmt,
    prelude::*,
    str::CString, //
};

/// Maximum size in bytes of a node's value: the payload of one xenstore message.
pub const MAX_VALUE: usize = 4096;

/// Maximum number of attempts at a transaction.
const MAX_TRIES: u32 = 64;

/// One of the two directories of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// Our directory.
    Own,

    /// The other end's directory.
    Otherend,
}

/// No transaction, `XBT_NIL` in C.
const NIL: bindings::xenbus_transaction = bindings::xenbus_transaction { id: 0 };

/// Writes a node.
fn write(
    transaction: bindings::xenbus_transaction,
    dir: &CStr,
    node: &CStr,
    value: fmt::Arguments<'_>,
) -> Result {
    let value = CString::try_from_fmt(value)?;

    // SAFETY: All strings are valid.
    to_result(unsafe {
        bindings::xenbus_write(
            transaction,
            dir.as_char_ptr(),
            node.as_char_ptr(),
            value.as_char_ptr(),
        )
    })
}

/// Removes a node and all nodes below it.
fn remove(transaction: bindings::xenbus_transaction, dir: &CStr, node: &CStr) -> Result {
    // SAFETY: All strings are valid.
    to_result(unsafe { bindings::xenbus_rm(transaction, dir.as_char_ptr(), node.as_char_ptr()) })
}

/// A set of changes to a device's directory that become visible together, or not at all.
///
/// Created by [`Device::transaction`].
pub struct Transaction<'a> {
    id: bindings::xenbus_transaction,
    dir: &'a CStr,
}

impl Transaction<'_> {
    /// Writes a node in our directory, creating the node if needed.
    pub fn write(&self, node: &CStr, value: fmt::Arguments<'_>) -> Result {
        write(self.id, self.dir, node, value)
    }

    /// Removes a node in our directory and all nodes below it.
    ///
    /// Succeeds if there is no such node.
    pub fn remove(&self, node: &CStr) -> Result {
        remove(self.id, self.dir, node)
    }

    /// Returns our directory for reading: a consistent view, including the changes made in this
    /// transaction.
    pub fn own_dir(&self) -> Directory<'_> {
        Directory {
            transaction: self.id,
            path: self.dir,
        }
    }
}

/// Changes to our directory. The methods exchange messages with the xenstore daemon: process
/// context, may sleep.
impl<Ctx: device::DeviceContext> Device<Ctx> {
    /// Writes a node in our directory, creating the node if needed.
    pub fn write(&self, node: &CStr, value: fmt::Arguments<'_>) -> Result {
        write(NIL, self.nodename(), node, value)
    }

    /// Removes a node in our directory and all nodes below it.
    ///
    /// Succeeds if there is no such node.
    pub fn remove(&self, node: &CStr) -> Result {
        remove(NIL, self.nodename(), node)
    }

    /// Removes our directory.
    pub fn remove_own_dir(&self) -> Result {
        remove(NIL, self.nodename(), c"")
    }

    /// Calls `f` and applies all changes that `f` makes as one transaction.
    ///
    /// If `f` fails, nothing is changed. If the same nodes were changed concurrently, `f` is called
    /// again; fails with [`EAGAIN`] after too many attempts.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::xen::{
    ///     event::{
    ///         EventChannel,
    ///         Handler, //
    ///     },
    ///     ring::FrontRing,
    ///     xenbus::Device, //
    /// };
    ///
    /// fn publish(
    ///     xdev: &Device,
    ///     ring: &FrontRing,
    ///     channel: &EventChannel<impl Handler>,
    /// ) -> Result {
    ///     let gref = *ring.page().refs().first().ok_or(EINVAL)?;
    ///
    ///     xdev.transaction(|t| {
    ///         t.write(c"ring-ref", fmt!("{gref}"))?;
    ///         t.write(c"port", fmt!("{}", channel.port()))
    ///     })
    /// }
    /// ```
    pub fn transaction(&self, mut f: impl FnMut(&Transaction<'_>) -> Result) -> Result {
        for _ in 0..MAX_TRIES {
            let mut id = NIL;

            // SAFETY: `id` is valid for writing.
            to_result(unsafe { bindings::xenbus_transaction_start(&mut id) })?;

            let done = f(&Transaction {
                id,
                dir: self.nodename(),
            });

            // SAFETY: `id` is a transaction that was started above, and is not used after this
            // call.
            let ret = unsafe { bindings::xenbus_transaction_end(id, done.is_err()) };

            done?;
            match to_result(ret) {
                Err(EAGAIN) => {}
                ended => return ended,
            }
        }
        Err(EAGAIN)
    }
}

/// Access to both directories. Unless their documentation says otherwise, the methods exchange
/// messages with the xenstore daemon: process context, may sleep.
impl<Ctx: device::DeviceContext> Device<Ctx> {
    /// Returns our directory for reading.
    ///
    /// Any context.
    pub fn own_dir(&self) -> Directory<'_> {
        Directory::new(self.nodename())
    }

    /// Returns the path of the other end's directory in xenstore.
    ///
    /// Reads the path from our directory, as the bus does. The bus's own copy can't be used: the
    /// bus frees it when the driver is unbound or the domain is restored on another host, even
    /// while it is being read.
    fn otherend(&self) -> Result<CString> {
        let node = if self.nodename().to_bytes().starts_with(b"backend/") {
            c"frontend"
        } else {
            c"backend"
        };
        let mut path = self.own_dir().read(node)?;
        path.push(0, GFP_KERNEL)?;
        let path = CStr::from_bytes_with_nul(&path).map_err(|_| EINVAL)?;
        Ok(path.try_into()?)
    }

    fn with_dir<R>(&self, dir: Dir, read: impl FnOnce(Directory<'_>) -> Result<R>) -> Result<R> {
        match dir {
            Dir::Own => read(self.own_dir()),
            Dir::Otherend => read(Directory::new(&self.otherend()?)),
        }
    }

    /// Reads a node. See [`Directory::read`].
    pub fn read(&self, dir: Dir, node: &CStr) -> Result<KVec<u8>> {
        self.with_dir(dir, |dir| dir.read(node))
    }

    /// Reads a node as a number. See [`Directory::read_u32`].
    pub fn read_u32(&self, dir: Dir, node: &CStr) -> Result<u32> {
        self.with_dir(dir, |dir| dir.read_u32(node))
    }

    /// Like [`Device::read_u32`], but returns `default` if there is no such node.
    pub fn read_u32_or(&self, dir: Dir, node: &CStr, default: u32) -> Result<u32> {
        self.with_dir(dir, |dir| dir.read_u32_or(node, default))
    }
}
