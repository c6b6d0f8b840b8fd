// SPDX-License-Identifier: GPL-2.0

//! The sockets of a guest, by the ids that the guest has given them.

use crate::{
    conn::{
        Conn,
        Registry, //
    },
    datagram_socket::DatagramSocket,
    guest::Guest,
    listener::{
        Listener,
        Listeners, //
    },
    owners::Tenant,
    policy::Policy,
    pump::Pump,
    quota::{
        Charge,
        Holding, //
    },
    recount::Recount,
    socket::{
        GuestSocket,
        SocketCalls, //
    }, //
};
use kernel::{
    impl_has_delayed_work,
    net::kernel_socket::Tcp,
    new_delayed_work,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        owned::{
            cancel_delayed_sync,
            enqueue_delayed,
            OnQueue,
            OwnedQueue, //
        },
        DelayedWork,
        WorkItem, //
    }, //
};

/// Time until the memory of all connections is counted again, in milliseconds.
const RECOUNT_DELAY: Msecs = 1000;

/// A socket of a guest.
#[derive(Clone)]
pub(crate) enum TableEntry {
    /// A stream made by SOCKET: neither connected nor listening.
    Unused(Arc<GuestSocket<Tcp>>),
    /// A stream whose CONNECT has failed at once, or whose BIND to an interface has failed: it can
    /// only be released, or connect again if the dialect has that.
    Dead,
    /// From CONNECT on.
    Conn(Arc<Conn>),
    /// From LISTEN on.
    Listener(Arc<Listener>),
    /// From ACCEPT on. The listener fills it.
    Accepted(Arc<Conn>, Arc<Listener>),
    /// A datagram socket, from SOCKET on.
    Datagram(Arc<DatagramSocket>),
}

impl TableEntry {
    /// Returns the connection, or the place for one.
    pub(crate) fn conn(&self) -> Option<&Arc<Conn>> {
        match self {
            Self::Conn(conn) | Self::Accepted(conn, _) => Some(conn),
            Self::Unused(_) | Self::Dead | Self::Listener(_) | Self::Datagram(_) => None,
        }
    }

    /// Returns `true` if it is what a CONNECT has left that failed, or a connection that was taken
    /// apart.
    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::Dead => true,
            Self::Conn(conn) => conn.socket().is_none(),
            _ => false,
        }
    }

    /// Returns the TCP or UDP socket. `ENOTCONN` if there is none: there is no connection yet, or
    /// it has ended.
    pub(crate) fn socket(&self) -> Result<Arc<dyn SocketCalls>> {
        let tcp = match self {
            Self::Unused(socket) => Some(socket.clone()),
            Self::Dead => None,
            Self::Listener(listener) => listener.socket(),
            Self::Conn(conn) | Self::Accepted(conn, _) => conn.socket(),
            Self::Datagram(datagram) => {
                let udp = datagram.socket().ok_or(ENOTCONN)?;
                return Ok(udp);
            }
        };
        Ok(tcp.ok_or(ENOTCONN)?)
    }
}

/// A socket of a guest, with its owner, which stays the same when the entry changes.
struct Owned {
    entry: TableEntry,
    /// Counts for the user even while there is no TCP or UDP socket.
    _charge: Charge,
    tenant: Arc<Tenant>,
}

struct SocketTree {
    by_id: RBTree<u64, Owned>,
    len: usize,
}

impl SocketTree {
    fn add(&mut self, id: u64, owned: Owned) -> Result {
        self.by_id.insert(RBTreeNode::new(id, owned, GFP_KERNEL)?);
        self.len += 1;
        Ok(())
    }

    fn get(&self, id: u64) -> Result<&TableEntry> {
        Ok(&self.by_id.get(&id).ok_or(EBADF)?.entry)
    }

    fn entries(&self) -> impl Iterator<Item = &TableEntry> {
        self.by_id.values().map(|owned| &owned.entry)
    }

    fn remove(&mut self, id: u64) -> Result<Owned> {
        let owned = self.by_id.remove(&id).ok_or(EBADF)?;
        self.len -= 1;
        Ok(owned)
    }
}

/// The sockets of a guest. Unless noted otherwise, methods return `EBADF` if there is no socket
/// with the id, and `ENETDOWN` if the link is down.
#[pin_data]
pub(crate) struct Table {
    pub(crate) guest: Arc<Guest>,
    /// `None` once the link is down.
    #[pin]
    entries: Mutex<Option<SocketTree>>,
    /// Counts the memory of all connections.
    #[pin]
    recounting: DelayedWork<Table>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Table { self.recounting }
}

impl Table {
    pub(crate) fn new(guest: Arc<Guest>) -> Result<Arc<Self>> {
        let entries = SocketTree {
            by_id: RBTree::new(),
            len: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                guest,
                entries <- new_mutex!(Some(entries), "xensock_table"),
                recounting <- new_delayed_work!("xensock_recount"),
            }),
            GFP_KERNEL,
        )
    }

    fn with<R>(&self, what: impl FnOnce(&mut SocketTree) -> Result<R>) -> Result<R> {
        what((*self.entries.lock()).as_mut().ok_or(ENETDOWN)?)
    }

    /// Lets the memory of the connections be counted again when a user has little left.
    pub(crate) fn begin_recounts(self: &Arc<Self>) {
        self.guest
            .counters
            .sockets
            .recounter
            .set(Some(self.clone()));
    }

    /// Ends what [`Self::begin_recounts`] has begun. Sleeps. Not to be called from a work item.
    pub(crate) fn end_recounts(self: &Arc<Self>) {
        self.guest.counters.sockets.recounter.set(None);
        // Nothing queues it again.
        let _ = cancel_delayed_sync::<_, 0>(self);
    }

    /// Adds a new socket of a user. `EEXIST` if the id is in use, `EMFILE` if the guest would have too
    /// many, `EDQUOT` if only the user would.
    ///
    /// The limits include released sockets that are not freed yet, and places for connections.
    pub(crate) fn add(&self, id: u64, tenant: &Arc<Tenant>, policy: &Policy) -> Result {
        let user_sockets = tenant.user_sockets();
        self.with(|entries| {
            if entries.get(id).is_ok() {
                return Err(EEXIST);
            }
            let sockets = &self.guest.counters.sockets;
            let used = sockets.with_places(entries.len);
            policy.may_have_socket(Holding {
                owner: tenant.number(),
                own: user_sockets.count(),
                used,
            })?;
            let owned = Owned {
                entry: TableEntry::Dead,
                _charge: user_sockets.entries.take(1),
                tenant: tenant.clone(),
            };
            entries.add(id, owned)
        })
    }

    /// Removes an entry that [`Self::add`] has added and that no socket was made for.
    pub(crate) fn drop_new(&self, id: u64) {
        // Only the work item that serves the guest removes other entries.
        let _ = self.remove(id);
    }

    /// Returns the entry of a socket.
    pub(crate) fn get(&self, id: u64) -> Result<TableEntry> {
        self.with(|entries| entries.get(id).cloned())
    }

    /// Returns the user of a socket.
    pub(crate) fn tenant(&self, id: u64) -> Result<Arc<Tenant>> {
        self.with(|entries| Ok(entries.by_id.get(&id).ok_or(EBADF)?.tenant.clone()))
    }

    /// Replaces the entry of a socket.
    pub(crate) fn change(&self, id: u64, entry: TableEntry) -> Result {
        let old = self.with(|entries| {
            let owned = entries.by_id.get_mut(&id).ok_or(EBADF)?;
            Ok(core::mem::replace(&mut owned.entry, entry))
        })?;
        // Outside the lock.
        drop(old);
        Ok(())
    }

    /// Removes a socket.
    pub(crate) fn remove(&self, id: u64) -> Result<TableEntry> {
        // The rest of `Owned` is dropped outside the lock.
        Ok(self.with(|entries| entries.remove(id))?.entry)
    }

    /// Removes all sockets and makes each close, in its work item. None can be added afterwards.
    /// May sleep.
    pub(crate) fn close(&self) {
        let entries = self.entries.lock().take();
        let Some(entries) = entries else {
            return;
        };
        // All connections are marked first: a peer may answer the reset of one connection by
        // closing another one, which must then be reset too and not end in good order.
        for conn in entries.entries().filter_map(TableEntry::conn) {
            conn.mark_abandoned();
        }
        for entry in entries.entries() {
            match entry {
                TableEntry::Conn(conn) | TableEntry::Accepted(conn, _) => conn.wake(),
                TableEntry::Listener(listener) => listener.close(),
                TableEntry::Datagram(datagram) => datagram.abandon(),
                TableEntry::Unused(_) | TableEntry::Dead => (),
            }
        }
    }
}

impl Registry for Table {
    fn forget(&self, id: u64, conn: &Conn) {
        let removed = self.with(|entries| {
            let found = entries.get(id)?.conn().ok_or(EBADF)?;
            if !core::ptr::eq(&**found, conn) {
                return Err(EBADF);
            }
            entries.remove(id)
        });
        // Outside the lock.
        drop(removed);
    }
}

impl Listeners for Table {
    fn wake(&self) {
        let _ = self.with(|entries| {
            for entry in entries.entries() {
                if let TableEntry::Listener(listener) = entry {
                    listener.wake();
                }
            }
            Ok(())
        });
    }
}

impl Recount for Table {
    fn recount_later(self: Arc<Self>) {
        // An item that is queued already does it.
        let _ = enqueue_delayed::<_, 0>(self, msecs_to_jiffies(RECOUNT_DELAY));
    }
}

impl OnQueue for Table {
    fn queue(&self) -> &Arc<OwnedQueue> {
        &self.guest.transport.queues.work
    }
}

impl WorkItem for Table {
    type Pointer = Arc<Table>;

    fn run(this: Arc<Table>) {
        this.guest.counters.sockets.recounter.begin();
        // If the link is down, there is nothing to count.
        let _ = this.with(|entries| {
            entries
                .entries()
                .filter_map(TableEntry::conn)
                .for_each(|conn| conn.count_memory());
            Ok(())
        });
    }
}
