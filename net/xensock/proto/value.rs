// SPDX-License-Identifier: GPL-2.0

//! Values of options on the wire: complete in a request, in pieces in a response.

/// Maximum number of bytes of a value in one request or response.
pub const MAX_LEN: usize = 32;

/// Bytes of a number, C's `int`.
pub const INT_LEN: usize = 4;

/// Bytes of a name with its padding, `TCP_CA_NAME_MAX`.
pub const NAME_LEN: usize = 16;

/// A value in a request.
///
/// # Invariants
///
/// `len` is at most [`MAX_LEN`], and the bytes behind it are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    len: u8,
    bytes: [u8; MAX_LEN],
}

impl Value {
    /// Makes the value of a number.
    pub fn int(number: i32) -> Self {
        let mut bytes = [0; MAX_LEN];

        bytes[..INT_LEN].copy_from_slice(&number.to_le_bytes());
        // INVARIANT: Nothing else was set. CAST: A small constant.
        Self {
            len: INT_LEN as u8,
            bytes,
        }
    }

    /// Makes the value of a structure; [`None`] if it has more than [`MAX_LEN`] bytes.
    pub(super) fn of(given: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_LEN];

        bytes.get_mut(..given.len())?.copy_from_slice(given);
        // INVARIANT: The slice exists, and nothing was set behind it.
        Some(Self {
            len: u8::try_from(given.len()).ok()?,
            bytes,
        })
    }

    /// Makes a value of `len` zeroes, at most [`MAX_LEN`].
    pub(super) fn zeroes(len: u32) -> Self {
        let len = u8::try_from(len).unwrap_or(u8::MAX);

        // INVARIANT: Nothing was set. CAST: A small constant.
        Self {
            len: len.min(MAX_LEN as u8),
            bytes: [0; MAX_LEN],
        }
    }

    /// Makes the value of a name, which ends at a zero byte or at the maximum length.
    pub(super) fn name(given: &[u8]) -> Self {
        let mut bytes = [0; MAX_LEN];
        let name = given.iter().take_while(|&&byte| byte != 0);

        for (to, from) in bytes.iter_mut().zip(name).take(NAME_LEN - 1) {
            *to = *from;
        }
        // INVARIANT: Only the first bytes were set. CAST: A small constant.
        Self {
            len: NAME_LEN as u8,
            bytes,
        }
    }

    /// Reads a value from the wire; [`None`] if `len` is larger than the field.
    pub fn from_padded(padded: &[u8; MAX_LEN], len: u32) -> Option<Self> {
        let len = u8::try_from(len).ok()?;
        let mut bytes = [0; MAX_LEN];

        bytes
            .get_mut(..usize::from(len))?
            .copy_from_slice(padded.get(..usize::from(len))?);
        // INVARIANT: The slice exists, and nothing was set behind it.
        Some(Self { len, bytes })
    }

    /// Returns the bytes, padded with zeroes.
    pub const fn padded(&self) -> [u8; MAX_LEN] {
        self.bytes
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }

    /// Returns the number of bytes, for the wire.
    pub(super) fn wire_len(&self) -> u32 {
        u32::from(self.len)
    }

    /// Returns the number, if the value has the length of a number.
    pub fn to_int(&self) -> Option<i32> {
        Some(i32::from_le_bytes(self.as_bytes().try_into().ok()?))
    }
}

/// A piece of a value in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes from the requested offset on, padded with zeroes.
    pub bytes: [u8; MAX_LEN],
    /// Number of bytes of the whole value.
    pub total: u32,
}

impl Piece {
    /// Backend: returns the piece of a value that begins at `offset`.
    ///
    /// [`None`] if `offset` is not a multiple of [`MAX_LEN`], or is beyond the value. Only the
    /// piece at offset 0 can be empty.
    pub fn of(value: &[u8], offset: u32) -> Option<Self> {
        let total = u32::try_from(value.len()).ok()?;
        let start = usize::try_from(offset).ok()?;
        let rest = value.get(start..)?;
        if start % MAX_LEN != 0 || (rest.is_empty() && start != 0) {
            return None;
        }
        let mut bytes = [0; MAX_LEN];
        for (to, from) in bytes.iter_mut().zip(rest) {
            *to = *from;
        }
        Some(Self { bytes, total })
    }

    /// Frontend: returns the bytes of the value in a piece that was read at `offset`.
    pub fn at(&self, offset: u32) -> &[u8] {
        let left = usize::try_from(self.total.saturating_sub(offset)).unwrap_or(MAX_LEN);

        self.bytes.get(..left).unwrap_or(&self.bytes)
    }
}
