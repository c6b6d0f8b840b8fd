// SPDX-License-Identifier: GPL-2.0

//! The sockets of a guest, counted.

use crate::{
    memory::TcpMemory,
    quota::{
        Charge,
        Quota, //
    }, //
};
use kernel::{
    net::kernel_socket::{
        KernelSocket,
        Protocol,
        Tally, //
    },
    prelude::*,
    sync::Arc, //
};

/// The sockets of a guest, of all its links.
pub(crate) struct Sockets {
    /// Those included that were closed and that TCP is not done with.
    all: Arc<Tally>,
    open: Arc<Quota>,
    /// The groups that they are in.
    pub(crate) groups: Arc<Quota>,
    pub(crate) memory: Arc<TcpMemory>,
}

impl Sockets {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let all = Arc::new(Tally::new(), GFP_KERNEL)?;
        let open = Quota::new()?;
        let memory = TcpMemory::new(all.clone())?;
        let groups = Quota::new()?;
        let sockets = Self {
            all,
            open,
            groups,
            memory,
        };
        Ok(Arc::new(sockets, GFP_KERNEL)?)
    }

    /// Counts a socket of a user's: as one that is open until the result is dropped, and then for as
    /// long as TCP needs it.
    pub(crate) fn enter<P: Protocol>(
        &self,
        socket: &mut KernelSocket<P>,
        user: &OfUser,
    ) -> Result<[Charge; 2]> {
        socket.count_in(&user.all)?;
        Ok([
            self.open.take(1, |_| Ok(()))?,
            user.open.take(1, |_| Ok(()))?,
        ])
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> &Quota {
        &self.open
    }

    /// Returns how many there are, open or not.
    pub(crate) fn count(&self) -> usize {
        self.all.count()
    }

    /// Returns how many were closed and are not gone.
    pub(crate) fn closed(&self) -> usize {
        self.count().saturating_sub(self.open.used())
    }
}

/// What one user of a guest has of these.
pub(crate) struct OfUser {
    all: Arc<Tally>,
    open: Arc<Quota>,
    /// The entries in the table: also those for which TCP and UDP have no socket yet, or any more.
    pub(crate) entries: Arc<Quota>,
    /// Those that listen.
    pub(crate) listeners: Arc<Quota>,
}

impl OfUser {
    pub(crate) fn new(sockets: &Sockets) -> Result<Arc<Self>> {
        let user = Self {
            all: Arc::new(Tally::part_of(&sockets.all), GFP_KERNEL)?,
            open: Quota::new()?,
            entries: Quota::new()?,
            listeners: Quota::new()?,
        };
        Ok(Arc::new(user, GFP_KERNEL)?)
    }

    /// How many sockets there are, open or not, and places for them.
    pub(crate) fn count(&self) -> usize {
        self.all.count().max(self.entries.used() + self.closed())
    }

    /// How many were closed and are not gone.
    pub(crate) fn closed(&self) -> usize {
        self.all.count().saturating_sub(self.open.used())
    }
}
