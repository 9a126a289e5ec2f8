"""Reads JSON numbers as the nearest double, as `float` in Python does: the same bits for the same text.

Numbers of more than 19 digits, or so large or small that the table of powers does not have them, are not read.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static inline void forebay_multiply(uint64_t a, uint64_t b, uint64_t *high, uint64_t *low) {
        unsigned __int128 product = (unsigned __int128)a * b;
        *high = (uint64_t)(product >> 64);
        *low = (uint64_t)product;
    }
    static inline int forebay_leading_zeros(uint64_t value) { return __builtin_clzll(value); }
    static inline double forebay_double_of_bits(uint64_t bits) {
        union { uint64_t bits; double value; } both = { bits };
        return both.value;
    }
    /* Read up to 8 digits at once, without a branch for each. Return how many there are. */
    static inline int forebay_eight_digits(const char *text, uint64_t *number) {
        uint64_t digits = 0, others;
        int count = 8;
        memcpy(&digits, text, 8);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        digits = __builtin_bswap64(digits);
    #endif
        digits ^= 0x3030303030303030;
        /* The first byte above 9 has its high bit set; a carry can change only bytes after it. */
        others = (digits | (digits + 0x7676767676767676)) & 0x8080808080808080;
        if (others) {
            count = __builtin_ctzll(others) >> 3;
            digits = count ? digits << (64 - 8 * count) : 0;
        }
        digits = digits * 10 + (digits >> 8);
        *number = (((digits & 0x000000FF000000FF) * 0x000F424000000064)
                   + (((digits >> 16) & 0x000000FF000000FF) * 0x0000271000000001)) >> 32 & 0xFFFFFFFF;
        return count;
    }
    """
    int eight_digits "forebay_eight_digits"(const char* text, uint64_t* number) noexcept nogil
    void multiply "forebay_multiply"(uint64_t a, uint64_t b, uint64_t* high, uint64_t* low) noexcept nogil
    int leading_zeros "forebay_leading_zeros"(uint64_t value) noexcept nogil
    double double_of_bits "forebay_double_of_bits"(uint64_t bits) noexcept nogil


cdef enum:
    MAX_DIGITS = 19  # 10^19 - 1 fits into 64 bits
    MAX_EXPONENT = 60  # of the table of powers, in both directions
    MAX_EXACT = 22  # 10^22 is the largest power of ten that a double holds exactly

cdef uint64_t INTEGER_POWERS[9]
INTEGER_POWERS[:] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
cdef double EXACT_POWERS[MAX_EXACT + 1]
cdef uint64_t POWERS[2 * MAX_EXPONENT + 1][2]  # 10^q as 128 bits, from q = -MAX_EXPONENT


cdef int fill_powers() except -1:
    """Compute the tables of Lemire, Number parsing at a gigabyte per second (2021)."""
    cdef int exponent
    for exponent in range(MAX_EXACT + 1):
        EXACT_POWERS[exponent] = <double>(10 ** <object>exponent)
    for exponent in range(-MAX_EXPONENT, MAX_EXPONENT + 1):
        power = 5 ** <object>abs(exponent)
        bits = power.bit_length()
        if exponent >= 0:
            power = power << 128 - bits if bits <= 128 else power >> bits - 128
        elif exponent >= -27:
            power = (1 << bits + 127) // power + 1
        else:
            power = (1 << 2 * bits + 128) // power + 1
            power >>= power.bit_length() - 128
        POWERS[exponent + MAX_EXPONENT][0] = <uint64_t>(power >> 64)
        POWERS[exponent + MAX_EXPONENT][1] = <uint64_t>(power & 0xFFFFFFFFFFFFFFFF)
    return 0


fill_powers()


cdef inline bint is_digit(const char* at, const char* end) noexcept nogil:
    return at < end and <uint8_t>(at[0] - 48) < 10


cdef inline const char* read_digits(const char* at, const char* end, uint64_t* number) noexcept nogil:
    """Append the digits at a position to a number, which may overflow."""
    cdef uint64_t eight = 0
    cdef int count = 8
    while count == 8 and end - at >= 8:
        count = eight_digits(at, &eight)
        number[0] = number[0] * INTEGER_POWERS[count] + eight
        at += count
    if count == 8:
        while is_digit(at, end):
            number[0] = 10 * number[0] + <uint8_t>(at[0] - 48)
            at += 1
    return at


cdef const char* read_number(const char* at, const char* end, double* number) noexcept nogil:
    """Read a number as the nearest double."""
    cdef bint is_negative = at < end and at[0] == b"-"
    cdef const char* begin
    cdef const char* fraction
    cdef uint64_t digits = 0
    cdef Py_ssize_t num_digits
    cdef int64_t exponent = 0, written = 0
    cdef bint is_integer = True, is_inverse
    if is_negative:
        at += 1
    begin = at
    if not is_digit(at, end):
        return NULL
    at = read_digits(at, end, &digits)
    num_digits = at - begin
    if begin[0] == b"0" and num_digits > 1:
        return NULL
    if at < end and at[0] == b".":
        is_integer = False
        at += 1
        fraction = at
        at = read_digits(at, end, &digits)
        if at == fraction:
            return NULL
        exponent = fraction - at
        num_digits += at - fraction
    if num_digits > MAX_DIGITS:
        # Zeros before the first other digit do not count. With more digits, `digits` may have overflowed.
        while begin < at and (begin[0] == b"0" or begin[0] == b"."):
            if begin[0] == b"0":
                num_digits -= 1
            begin += 1
        if num_digits > MAX_DIGITS:
            return NULL
    if at < end and (at[0] == b"e" or at[0] == b"E"):
        is_integer = False
        at += 1
        is_inverse = at < end and at[0] == b"-"
        if at < end and (at[0] == b"-" or at[0] == b"+"):
            at += 1
        begin = at
        while is_digit(at, end) and at - begin < 4:
            written = 10 * written + <uint8_t>(at[0] - 48)
            at += 1
        if at == begin or is_digit(at, end):
            return NULL
        exponent += -written if is_inverse else written
    if is_integer and is_negative and digits == 0:
        return NULL  # -0: 0 as an integer, -0.0 as a number
    if not nearest_double(digits, exponent, number):
        return NULL
    if is_negative:
        number[0] = -number[0]
    return at


cdef inline bint nearest_double(uint64_t digits, int64_t exponent, double* number) noexcept nogil:
    """Compute the double that is nearest to digits · 10^exponent. Return False if this is not the place to do it."""
    if digits == 0:
        number[0] = 0.0
        return True
    if digits <= <uint64_t>1 << 53:
        # Both operands are exact, so that one operation rounds correctly (Clinger).
        if 0 <= exponent <= MAX_EXACT:
            number[0] = <double>digits * EXACT_POWERS[exponent]
            return True
        if -MAX_EXACT <= exponent < 0:
            number[0] = <double>digits / EXACT_POWERS[-exponent]
            return True
    elif exponent == 0:
        number[0] = <double>digits
        return True
    return multiplied_double(digits, exponent, number)


cdef bint multiplied_double(uint64_t digits, int64_t exponent, double* number) noexcept nogil:
    """Compute the nearest double by the algorithm of Eisel and Lemire. digits: not 0."""
    cdef uint64_t high = 0, low = 0, more_high = 0, more_low = 0, mantissa
    cdef int zeros, upper_bit
    cdef int64_t power
    cdef uint64_t* power_of_ten
    if not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        return False
    power_of_ten = POWERS[exponent + MAX_EXPONENT]
    zeros = leading_zeros(digits)
    multiply(digits << zeros, power_of_ten[0], &high, &low)
    if high & 0x1FF == 0x1FF:
        multiply(digits << zeros, power_of_ten[1], &more_high, &more_low)
        low += more_high
        if more_high > low:
            high += 1
    if low == <uint64_t>0xFFFFFFFFFFFFFFFF and not -27 <= exponent <= 55:
        return False
    upper_bit = <int>(high >> 63)
    mantissa = high >> (upper_bit + 9)
    power = ((217706 * exponent) >> 16) + 63 + upper_bit - zeros + 1023
    if low <= 1 and -4 <= exponent <= 23 and mantissa & 3 == 1 and mantissa << (upper_bit + 9) == high:
        mantissa &= ~<uint64_t>1  # exactly between two doubles: round to even
    mantissa += mantissa & 1
    mantissa >>= 1
    if mantissa >= <uint64_t>2 << 52:
        mantissa = <uint64_t>1 << 52
        power += 1
    if not 0 < power < 2047:
        return False
    mantissa &= ~(<uint64_t>1 << 52)
    number[0] = double_of_bits(mantissa | (<uint64_t>power << 52))
    return True
