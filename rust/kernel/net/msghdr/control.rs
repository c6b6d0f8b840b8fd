// SPDX-License-Identifier: GPL-2.0

//! Control messages: ancillary data of a message.

use crate::{
    bindings,
    prelude::*, //
};

/// A control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// Level, for example `SOL_IP`.
    pub level: i32,
    /// Type, among the types of the level.
    pub kind: i32,
    /// Data of the control message.
    pub data: &'a [u8],
}

/// Size of a header in bytes.
const HEADER: usize = size_of::<bindings::cmsghdr>();

/// Returns the offset of the next message after one that ends at `len`.
const fn align(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(size_of::<usize>())
}

/// Iterator over the control messages in a byte buffer, as `for_each_cmsghdr()` finds them. A
/// message that extends beyond the buffer yields `EINVAL` and ends the iteration.
#[derive(Clone, Debug)]
pub struct Controls<'a>(&'a [u8]);

impl<'a> Controls<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Controls<'a> {
    type Item = Result<Control<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        const LEN: usize = size_of::<usize>();

        let bytes = self.0;
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let (len, rest) = header.split_first_chunk::<LEN>()?;
        let [l0, l1, l2, l3, k0, k1, k2, k3] = *rest.first_chunk()?;
        let len = usize::from_ne_bytes(*len);
        let Some(data) = bytes.get(HEADER..len) else {
            self.0 = &[];
            return Some(Err(EINVAL));
        };

        self.0 = align(len).and_then(|next| bytes.get(next..)).unwrap_or(&[]);
        Some(Ok(Control {
            level: i32::from_ne_bytes([l0, l1, l2, l3]),
            kind: i32::from_ne_bytes([k0, k1, k2, k3]),
            data,
        }))
    }
}

/// A buffer for the control messages of one call.
///
/// # Examples
///
/// ```
/// use kernel::net::msghdr::{
///     Control,
///     ControlBuf, //
/// };
///
/// let mut buf = ControlBuf::new();
///
/// assert!(buf.iter().next().is_none());
/// buf.push(Control { level: 1, kind: 2, data: &[3] })?;
/// buf.push(Control { level: 4, kind: 5, data: &[] })?;
///
/// let mut messages = buf.iter();
/// assert_eq!(messages.next(), Some(Ok(Control { level: 1, kind: 2, data: &[3] })));
/// assert_eq!(messages.next(), Some(Ok(Control { level: 4, kind: 5, data: &[] })));
/// assert_eq!(messages.next(), None);
/// assert_eq!(buf.push(Control { level: 6, kind: 7, data: &[0; 1000] }), Err(ENOBUFS));
/// # Ok::<(), Error>(())
/// ```
#[repr(C, align(8))]
pub struct ControlBuf {
    bytes: [u8; Self::SIZE],
    len: usize,
}

impl Default for ControlBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl ControlBuf {
    /// Enough for all control messages that IPv4 and IPv6 have for one datagram, except header
    /// options.
    const SIZE: usize = 512;

    /// Returns an empty buffer.
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            len: 0,
        }
    }

    /// Appends a control message. Fails with `ENOBUFS` if there is no room for it.
    pub fn push(&mut self, control: Control<'_>) -> Result {
        let len = HEADER.checked_add(control.data.len()).ok_or(ENOBUFS)?;
        let end = align(len)
            .and_then(|len| self.len.checked_add(len))
            .ok_or(ENOBUFS)?;
        let place = self.bytes.get_mut(self.len..end).ok_or(ENOBUFS)?;
        let fields: [&[u8]; 4] = [
            &len.to_ne_bytes(),
            &control.level.to_ne_bytes(),
            &control.kind.to_ne_bytes(),
            control.data,
        ];

        for (to, from) in place.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        self.len = end;
        Ok(())
    }

    /// Returns an iterator over the messages.
    pub fn iter(&self) -> Controls<'_> {
        Controls(self.bytes.get(..self.len).unwrap_or(&[]))
    }

    /// Attaches the control messages in this buffer to a message that is being sent.
    ///
    /// The buffer must stay alive and unchanged while the message is used.
    pub(in crate::net) fn attach_to(&mut self, msg: &mut bindings::msghdr) {
        msg.__bindgen_anon_1.msg_control = self.bytes.as_mut_ptr().cast();
        msg.msg_controllen = self.len;
    }

    /// Attaches this buffer to a message that is being received, for its control messages. Discards
    /// the previous contents of the buffer.
    ///
    /// The buffer must stay alive, and must not be used otherwise, while the message is used.
    /// Afterwards [`Self::set_received_len`] must be called.
    pub(in crate::net) fn attach_for_receive(&mut self, msg: &mut bindings::msghdr) {
        *self = Self::new();
        msg.__bindgen_anon_1.msg_control = self.bytes.as_mut_ptr().cast();
        msg.msg_controllen = Self::SIZE;
    }

    /// Sets the length of the contents after a message that this buffer was attached to has been
    /// received.
    pub(in crate::net) fn set_received_len(&mut self, msg: &bindings::msghdr) {
        // C code has reduced `msg_controllen` to the remaining room.
        self.len = Self::SIZE.saturating_sub(msg.msg_controllen);
    }
}
