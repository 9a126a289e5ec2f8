"""Base64url (RFC 4648, section 5) without padding."""

from libc.stdint cimport uint8_t, uint32_t


cdef const char* ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint8_t[256] SIXES  # the six bits of each character; 64 for all others


cdef void fill_sixes() noexcept:
    cdef int index
    for index in range(256):
        SIXES[index] = 64
    for index in range(64):
        SIXES[<uint8_t>ALPHABET[index]] = <uint8_t>index


fill_sixes()


cdef inline Py_ssize_t encoded_size(Py_ssize_t size) noexcept nogil:
    return (4 * size + 2) // 3


cdef char* encode(const uint8_t* data, Py_ssize_t size, char* out) noexcept nogil:
    """Write the characters of some bytes. Returns the position after them."""
    cdef uint32_t bits
    cdef const uint8_t* end = data + size
    while end - data >= 3:
        bits = (<uint32_t>data[0] << 16) | (<uint32_t>data[1] << 8) | data[2]
        out[0] = ALPHABET[bits >> 18]
        out[1] = ALPHABET[(bits >> 12) & 63]
        out[2] = ALPHABET[(bits >> 6) & 63]
        out[3] = ALPHABET[bits & 63]
        data += 3
        out += 4
    if data == end:
        return out
    bits = <uint32_t>data[0] << 16
    if end - data == 2:
        bits |= <uint32_t>data[1] << 8
        out[2] = ALPHABET[(bits >> 6) & 63]
    out[0] = ALPHABET[bits >> 18]
    out[1] = ALPHABET[(bits >> 12) & 63]
    return out + (end - data) + 1


cdef inline Py_ssize_t decoded_size(Py_ssize_t size) noexcept nogil:
    return 3 * size // 4


cdef bint decode(const char* text, Py_ssize_t size, uint8_t* out) noexcept nogil:
    """Write the bytes of some characters. Returns whether they are base64url; unused bits may have any value."""
    cdef uint32_t bits
    cdef uint8_t first, second, third, fourth, seen = 0
    cdef const char* end = text + size
    if size % 4 == 1:
        return False
    while end - text >= 4:
        first, second = SIXES[<uint8_t>text[0]], SIXES[<uint8_t>text[1]]
        third, fourth = SIXES[<uint8_t>text[2]], SIXES[<uint8_t>text[3]]
        seen |= first | second | third | fourth
        bits = (<uint32_t>first << 18) | (<uint32_t>second << 12) | (<uint32_t>third << 6) | fourth
        out[0] = <uint8_t>(bits >> 16)
        out[1] = <uint8_t>(bits >> 8)
        out[2] = <uint8_t>bits
        text += 4
        out += 3
    if text < end:
        first, second = SIXES[<uint8_t>text[0]], SIXES[<uint8_t>text[1]]
        seen |= first | second
        out[0] = <uint8_t>((first << 2) | (second >> 4))
        if end - text == 3:
            third = SIXES[<uint8_t>text[2]]
            seen |= third
            out[1] = <uint8_t>((second << 4) | (third >> 2))
    return seen < 64
