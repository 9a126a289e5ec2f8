# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Finds declared fields in the JSON documents of a poll, and replaces tokens by plain texts or texts by tokens in their bytes.

It reads only what is plainly valid, and leaves all else to the exact path (`encryption.documents`): repeated fields, fields with
other types than expected, ids with escapes, and headers of tokens that were not seen before. Encryption itself is done by the
caller, between the two steps. Differential tests compare the results (`tests/native/test_encrypted_fields.py`).
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy


include "spans.pxi"
include "text.pxi"
include "json_skips.pxi"
include "base64url.pxi"
include "field_places.pxi"


cdef enum:
    NONCE_BYTES = 12
    NONCE_CHARS = 16
    TAG_BYTES = 16
    TAG_CHARS = 22


cdef class Poll:
    """Documents in which the declared fields were found. Holds their bytes."""

    cdef Spans spans
    cdef tuple held
    cdef Document* documents
    cdef Found* found
    cdef Py_ssize_t count

    def __dealloc__(self):
        PyMem_Free(self.documents)
        PyMem_Free(self.found)

    cdef read(self, values, const Node* nodes, Py_ssize_t num_nodes, Py_ssize_t num_places):
        cdef Py_ssize_t index
        cdef char* begin
        cdef Py_ssize_t size
        cdef uint8_t* seen = NULL
        cdef Document* document
        if hasattr(values, "buffers"):
            self.spans = Spans(values)
            self.count = self.spans.count
        else:
            self.held = tuple(values)
            self.count = len(self.held)
        self.documents = <Document*>allocated(self.count * sizeof(Document))
        self.found = <Found*>allocated(self.count * num_places * sizeof(Found))
        for index in range(self.count):
            document = &self.documents[index]
            document.found = &self.found[index * num_places]
            if self.spans is None:
                if type(self.held[index]) is bytes:
                    PyBytes_AsStringAndSize(self.held[index], &begin, &size)
                    document.begin = begin
                    document.end = begin + size
            elif self.spans.length_of(index) >= 0:
                document.begin = self.spans.begin_of(index)
                document.end = document.begin + self.spans.length_of(index)
        seen = <uint8_t*>allocated(num_nodes)
        with nogil:
            for index in range(self.count):
                memset(seen, 0, num_nodes)
                self.documents[index].is_plain = read_document(nodes, &self.documents[index], seen)
        PyMem_Free(seen)


cdef inline bytes empty_bytes(Py_ssize_t size, char** begin):
    """Return bytes that are written before anything else sees them."""
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    begin[0] = PyBytes_AsString(made)
    return made


cdef class Tokens(Poll):
    """The tokens of a poll, in order.

    decrypts, nonces, texts, headers: for each token what decrypts it and its arguments.
    """

    cdef readonly list decrypts, nonces, texts, headers

    cdef find(self, Template* templates, Py_ssize_t num_templates, list functions):
        cdef Py_ssize_t index, place, start
        cdef Document* document
        self.decrypts, self.nonces, self.texts, self.headers = [], [], [], []
        for index in range(self.count):
            document = &self.documents[index]
            if not document.is_plain:
                continue
            drop_nulls(document)
            start = len(self.nonces)
            for place in range(document.num_found):
                if not self.add(document, &document.found[place], templates, num_templates, functions):
                    document.is_plain = False
                    for column in (self.decrypts, self.nonces, self.texts, self.headers):
                        del column[start:]
                    break

    cdef bint add(self, const Document* document, const Found* found, const Template* templates,
                  Py_ssize_t num_templates, list functions) except -1:
        """Add a token. Returns whether it has the form of a token, and a header that is known."""
        cdef Py_ssize_t size = 0, index, text_chars
        cdef const char* at
        cdef char* out
        cdef bytes nonce, text
        if not begins_token(found):
            return False
        for index in range(num_templates):
            size = header_size(&templates[index], document, found)
            if size:
                break
        text_chars = found.size - 2 - size - (2 + NONCE_CHARS + 1 + 1 + TAG_CHARS)
        if not size or text_chars < 0:
            return False
        at = found.begin + 1 + size
        if at[0] != b"." or at[1] != b"." or at[2 + NONCE_CHARS] != b"." or at[3 + NONCE_CHARS + text_chars] != b".":
            return False
        nonce = empty_bytes(NONCE_BYTES, &out)
        if not decode(at + 2, NONCE_CHARS, <uint8_t*>out):
            return False
        text = empty_bytes(decoded_size(text_chars) + TAG_BYTES, &out)
        if not decode(at + 3 + NONCE_CHARS, text_chars, <uint8_t*>out):
            return False
        if not decode(at + 4 + NONCE_CHARS + text_chars, TAG_CHARS, <uint8_t*>out + decoded_size(text_chars)):
            return False
        self.decrypts.append(functions[index])
        self.nonces.append(nonce)
        self.texts.append(text)
        self.headers.append(PyBytes_FromStringAndSize(found.begin + 1, size))
        return True

    def document_values(self, list plains):
        """Return the documents with plain texts for the tokens, and the indices of those that are left to the exact path.

        plains: for each token its plain text, or None if it cannot be decrypted.
        """
        cdef list values = [], others = []
        cdef Py_ssize_t index, first = 0
        cdef Document* document
        if len(plains) != len(self.nonces):
            raise ValueError("there is not one plain text for each token")
        for index in range(self.count):
            document = &self.documents[index]
            value = None
            if document.is_plain:
                value = self.written(document, plains, first)
                first += document.num_found
            if value is None:
                others.append(index)
            values.append(value)
        return values, others

    cdef written(self, const Document* document, list plains, Py_ssize_t first):
        cdef Py_ssize_t place, size, total = document.end - document.begin
        cdef const char* at = document.begin
        cdef char* text
        cdef char* out
        cdef bytes value
        for place in range(document.num_found):
            plain = plains[first + place]
            if type(plain) is not bytes:
                return None
            PyBytes_AsStringAndSize(plain, &text, &size)
            if not is_json(text, size):
                return None
            total += size - document.found[place].size
        value = empty_bytes(total, &out)
        for place in range(document.num_found):
            out = copied(out, at, document.found[place].begin - at)
            PyBytes_AsStringAndSize(plains[first + place], &text, &size)
            out = copied(out, text, size)
            at = document.found[place].begin + document.found[place].size
        copied(out, at, document.end - at)
        return value


cdef class Texts(Poll):
    """The plain texts of declared fields, in order. headers: for each text the header of its token."""

    cdef readonly list texts, headers

    cdef find(self, Template* templates):
        """Find the texts. templates: one for each place."""
        cdef char[2 * (MAX_ID_BYTES + MAX_ENDS + 8)] ending
        cdef Py_ssize_t index, place, size
        cdef Document* document
        cdef Found* found
        cdef Template* template
        cdef char* out
        self.texts, self.headers = [], []
        for index in range(self.count):
            document = &self.documents[index]
            if not document.is_plain:
                continue
            drop_nulls(document)
            for place in range(document.num_found):
                if begins_token(&document.found[place]):
                    document.is_plain = False
            if not document.is_plain:
                continue
            for place in range(document.num_found):
                found = &document.found[place]
                template = &templates[found.place]
                size = write_ending(ending, template, document) - ending
                self.texts.append(PyBytes_FromStringAndSize(found.begin, found.size))
                self.headers.append(empty_bytes(template.fixed_size + size, &out))
                copied(copied(out, template.fixed, template.fixed_size), ending, size)

    def document_values(self, list nonces, list encrypted):
        """Return the documents with tokens, and the indices of those that are left to the exact path.

        nonces, encrypted: for each text its nonce, and the encrypted text with the tag at its end.
        """
        cdef list values = [], others = []
        cdef Py_ssize_t index, first = 0
        if len(nonces) != len(self.texts) or len(encrypted) != len(self.texts):
            raise ValueError("there is not one nonce and one encrypted text for each text")
        for index in range(self.count):
            if self.documents[index].is_plain:
                values.append(self.written(&self.documents[index], nonces, encrypted, first))
                first += self.documents[index].num_found
            else:
                values.append(None)
                others.append(index)
        return values, others

    cdef bytes written(self, const Document* document, list nonces, list encrypted, Py_ssize_t first):
        cdef Py_ssize_t place, size, total = document.end - document.begin
        cdef const char* at = document.begin
        cdef char* text
        cdef char* out
        cdef bytes value
        for place in range(first, first + document.num_found):
            if len(<bytes?>nonces[place]) != NONCE_BYTES or len(<bytes?>encrypted[place]) < TAG_BYTES:
                raise ValueError("a nonce or an encrypted text is too short")
            size = encoded_size(len(<bytes>encrypted[place]) - TAG_BYTES)
            total += len(<bytes>self.headers[place]) + 2 + NONCE_CHARS + 1 + size + 1 + TAG_CHARS + 2
            total -= document.found[place - first].size
        value = empty_bytes(total, &out)
        for place in range(first, first + document.num_found):
            out = copied(out, at, document.found[place - first].begin - at)
            out = copied(out, b'"', 1)
            PyBytes_AsStringAndSize(self.headers[place], &text, &size)
            out = copied(copied(out, text, size), b"..", 2)
            PyBytes_AsStringAndSize(nonces[place], &text, &size)
            out = copied(encode(<const uint8_t*>text, size, out), b".", 1)
            PyBytes_AsStringAndSize(encrypted[place], &text, &size)
            out = copied(encode(<const uint8_t*>text, size - TAG_BYTES, out), b".", 1)
            out = copied(encode(<const uint8_t*>text + size - TAG_BYTES, TAG_BYTES, out), b'"', 1)
            at = document.found[place - first].begin + document.found[place - first].size
        copied(out, at, document.end - at)
        return value


cdef class FieldReader:
    """Finds declared fields.

    id_path: the names that lead to the id.
    paths: those that lead to the declared fields, as UTF-8. No path is the beginning of another.
    """

    cdef Node* nodes
    cdef Py_ssize_t num_nodes, num_places
    cdef list _names

    def __cinit__(self, tuple id_path, list paths):
        cdef Py_ssize_t place
        self._names = []
        self.num_places = len(paths)
        tree = {}
        for place in range(-1, len(paths)):
            path = id_path if place < 0 else paths[place]
            below = tree
            for name in path[:-1]:
                below = below.setdefault(name, {})
                if type(below) is not dict:
                    raise ValueError("a path is the beginning of another")
            if path[-1] in below:
                raise ValueError("a path is the beginning of another, or is given twice")
            below[path[-1]] = place
        self.nodes = <Node*>allocated((1 + sum(map(len, paths)) + len(id_path)) * sizeof(Node))
        self.add_level(tree)

    def __dealloc__(self):
        PyMem_Free(self.nodes)

    cdef Py_ssize_t add_level(self, dict tree) except -1:
        """Add siblings, then what is below them. Returns the index of the first."""
        cdef Py_ssize_t first = self.num_nodes, index = first
        cdef char* text
        cdef Py_ssize_t size
        self.num_nodes += len(tree)
        for name, below in tree.items():
            self._names.append(name)
            PyBytes_AsStringAndSize(name, &text, &size)
            self.nodes[index].name = text
            self.nodes[index].name_bytes = size
            self.nodes[index].next_sibling = index + 1 if index + 1 < first + len(tree) else -1
            self.nodes[index].place = -1 if type(below) is dict else below
            self.nodes[index].first_child = self.add_level(below) if type(below) is dict else -1
            index += 1
        return first

    cdef Template* templates_of(self, list rows) except NULL:
        """Return templates in memory to be freed. rows: (place, fixed, tail, suffix)."""
        cdef Template* templates = <Template*>allocated(len(rows) * sizeof(Template))
        cdef Py_ssize_t index
        cdef char* text
        for index in range(len(rows)):
            place, fixed, tail, suffix = rows[index]
            if len(tail) + len(suffix) > MAX_ENDS:
                PyMem_Free(templates)
                raise ValueError("the end of a header is too long")
            templates[index].place = place
            PyBytes_AsStringAndSize(fixed, &text, &templates[index].fixed_size)
            templates[index].fixed = text
            PyBytes_AsStringAndSize(tail, &text, &templates[index].tail_size)
            templates[index].tail = text
            PyBytes_AsStringAndSize(suffix, &text, &templates[index].suffix_size)
            templates[index].suffix = text
        return templates

    def tokens(self, values, list templates, list decrypts):
        """Return the tokens of documents.

        values: bytes, or None for a tombstone; or a `ByteColumn`.
        templates: headers as (place, the encoded beginning, the bytes after it, the bytes after the id).
        decrypts: for each template what decrypts a token with such a header.
        """
        cdef Tokens tokens = Tokens()
        cdef Template* known = NULL
        if len(templates) != len(decrypts):
            raise ValueError("there is not one function for each template")
        tokens.read(values, self.nodes, self.num_nodes, self.num_places)
        try:
            known = self.templates_of(templates)
            tokens.find(known, len(templates), decrypts)
        finally:
            PyMem_Free(known)
        return tokens

    def texts(self, values, list templates):
        """Return the plain texts of documents. templates: of the headers, one for each place, in order."""
        cdef Texts texts = Texts()
        cdef Template* known = NULL
        if [template[0] for template in templates] != list(range(self.num_places)):
            raise ValueError("there is not one template for each place")
        texts.read(values, self.nodes, self.num_nodes, self.num_places)
        try:
            known = self.templates_of(templates)
            texts.find(known)
        finally:
            PyMem_Free(known)
        return texts
