"""Where declared fields are in plain JSON documents, and the headers of their tokens."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy


cdef enum:
    MAX_ID_BYTES = 512
    MAX_INTEGER_ID = 18  # digits
    MAX_ENDS = 1024  # bytes of a header around the id that are encoded again for each token


cdef struct Node:
    const char* name
    Py_ssize_t name_bytes
    Py_ssize_t first_child  # -1 for a declared field or the id
    Py_ssize_t next_sibling  # -1 for the last
    Py_ssize_t place  # of a declared field: its index; -1 for the id


cdef struct Found:
    Py_ssize_t place
    const char* begin
    Py_ssize_t size


cdef struct Document:
    const char* begin  # NULL for a tombstone
    const char* end
    const char* id  # without quotation marks
    Py_ssize_t id_bytes
    Found* found  # in the order of the document
    Py_ssize_t num_found
    bint is_plain


cdef struct Template:
    Py_ssize_t place
    const char* fixed
    Py_ssize_t fixed_size
    const char* tail
    Py_ssize_t tail_size
    const char* suffix
    Py_ssize_t suffix_size


cdef inline Py_ssize_t child_of(const Node* nodes, Py_ssize_t first, Py_ssize_t likely, const char* name,
                                Py_ssize_t size) noexcept nogil:
    """Return the node with this name among siblings, or -1. likely: the node that is tried first; -1 for none."""
    cdef Py_ssize_t node
    if likely >= 0 and nodes[likely].name_bytes == size and memcmp(nodes[likely].name, name, size) == 0:
        return likely
    node = first
    while node >= 0:
        if nodes[node].name_bytes == size and memcmp(nodes[node].name, name, size) == 0:
            return node
        node = nodes[node].next_sibling
    return -1


cdef const char* read_object(const Node* nodes, Py_ssize_t first, Document* document, uint8_t* seen,
                             const char* at) noexcept nogil:
    """Read an object that may have declared fields. at: after its brace. seen: one byte for each node."""
    cdef const char* end = document.end
    cdef const char* name
    cdef Py_ssize_t node, likely = first
    cdef Found* found
    at = skip_space(at, end)
    if at < end and at[0] == b"}":
        return at + 1
    while True:
        if at == end or at[0] != b'"':
            return NULL
        at += 1
        name = at
        while at < end and at[0] != b'"':
            if at[0] == b"\\" or <uint8_t>at[0] < 0x20:
                return NULL
            at += 1
        if at == end:
            return NULL
        node = child_of(nodes, first, likely, name, at - name)
        at = expect(b":", at + 1, end)
        if at == NULL or at == end:
            return NULL
        if node < 0:
            at = skip_value(at, end, 0)
        elif seen[node]:
            return NULL
        else:
            seen[node] = 1
            likely = nodes[node].next_sibling
            if nodes[node].first_child >= 0:
                if at[0] == b"{":
                    at = read_object(nodes, nodes[node].first_child, document, seen, at + 1)
                else:
                    at = skip_value(at, end, 0) if at[0] == b"n" else NULL
            elif nodes[node].place < 0:
                document.id = at
                at = skip_value(at, end, 0)
                document.id_bytes = 0 if at == NULL else at - document.id
            else:
                found = &document.found[document.num_found]
                found.place = nodes[node].place
                found.begin = at
                at = skip_value(at, end, 0)
                found.size = 0 if at == NULL else at - found.begin
                document.num_found += 1
        if at == NULL:
            return NULL
        at = skip_space(at, end)
        if at == end:
            return NULL
        if at[0] == b"}":
            return at + 1
        if at[0] != b",":
            return NULL
        at = skip_space(at + 1, end)


cdef bint has_plain_id(Document* document) noexcept nogil:
    """Return whether the id is a text without escapes or a short integer, and remove its quotation marks."""
    cdef Py_ssize_t size = document.id_bytes
    if size and document.id[0] == b'"':
        document.id += 1
        document.id_bytes = size - 2
        return size - 2 <= MAX_ID_BYTES and not needs_care(document.id, size - 2)
    return 0 < size <= MAX_INTEGER_ID and skip_digits(document.id, document.id + size) == document.id + size


cdef bint read_document(const Node* nodes, Document* document, uint8_t* seen) noexcept nogil:
    cdef const char* at
    if document.begin == NULL or not is_text_valid(document.begin, document.end - document.begin):
        return False
    at = skip_space(document.begin, document.end)
    if at == document.end or at[0] != b"{":
        return False
    at = read_object(nodes, 0, document, seen, at + 1)
    return at != NULL and skip_space(at, document.end) == document.end and has_plain_id(document)


cdef inline char* copied(char* out, const char* begin, Py_ssize_t size) noexcept nogil:
    memcpy(out, begin, size)
    return out + size


cdef char* write_ending(char* out, const Template* template, const Document* document) noexcept nogil:
    """Write the characters of a header after the fixed ones: those that depend on the id."""
    cdef char[MAX_ID_BYTES + MAX_ENDS + 8] raw
    cdef char* end = copied(raw, template.tail, template.tail_size)
    end[0] = b'"'
    end = copied(end + 1, document.id, document.id_bytes)
    end[0] = b'"'
    end = copied(end + 1, template.suffix, template.suffix_size)
    return encode(<const uint8_t*>raw, end - raw, out)


cdef Py_ssize_t header_size(const Template* template, const Document* document, const Found* found) noexcept nogil:
    """Return the size of a token's header if it is that of the template; 0 otherwise."""
    cdef char[2 * (MAX_ID_BYTES + MAX_ENDS + 8)] ending
    cdef const char* token = found.begin + 1
    cdef Py_ssize_t size, most = found.size - 2
    if template.place != found.place or template.fixed_size > most or (
        memcmp(token, template.fixed, template.fixed_size) != 0
    ):
        return 0
    size = write_ending(ending, template, document) - ending
    if template.fixed_size + size > most or memcmp(token + template.fixed_size, ending, size) != 0:
        return 0
    return template.fixed_size + size


cdef inline bint is_null(const Found* found) noexcept nogil:
    return found.size == 4 and found.begin[0] == b"n"


cdef inline bint begins_token(const Found* found) noexcept nogil:
    return found.size >= 6 and memcmp(found.begin, b'"eyJ', 4) == 0


cdef void drop_nulls(Document* document) noexcept nogil:
    cdef Py_ssize_t index, kept = 0
    for index in range(document.num_found):
        if not is_null(&document.found[index]):
            document.found[kept] = document.found[index]
            kept += 1
    document.num_found = kept
