# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=False
"""Writes predictions as JSON documents: each is one allocation, filled with the parts in order.

`PredictionEncoder` (`output.encoder`) supplies the parts and has the twin in Python, which writes the same bytes.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcpy


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyBytes_FromStringAndSize(const char* text, Py_ssize_t size)
    char* PyBytes_AsString(object text) except NULL
    int PyBytes_AsStringAndSize(object text, char** begin, Py_ssize_t* size) except -1


cdef enum:
    MAX_NUMBER = 20  # characters of an int64


cdef struct Text:
    const char* begin
    Py_ssize_t size


cdef class Template:
    """The parts that all predictions of a chunk have in common, as bytes.

    model: what is between the id and the scores.
    endings: what follows the confidence, by class.
    source: what is between the ending and the offset.
    """

    cdef Text model, source
    cdef list endings
    cdef tuple _parts

    def __cinit__(self, bytes model, list endings, bytes source):
        self._parts = (model, source)
        self.model, self.source = text_of(model), text_of(source)
        self.endings = endings

    def documents(self, list ids, list offsets, list timestamps, list classes, bytes scores, bytes confidences):
        """Return a document for each row, or None if an id has characters that JSON escapes.

        scores: the JSON of the matrix of scores, with a list for each row and without space.
        confidences: the JSON of a list; None for no confidences.
        """
        cdef Py_ssize_t count = len(ids), index
        cdef Text id, score, confidence, ending, all_scores = text_of(scores), all_confidences
        cdef const char* score_at = all_scores.begin + 1  # after the bracket of the matrix
        cdef const char* scores_end = all_scores.begin + all_scores.size
        cdef const char* confidence_at = NULL
        cdef const char* confidences_end = NULL
        cdef list documents = []
        if len(offsets) != count or len(timestamps) != count or len(classes) != count:
            raise ValueError("the columns have different lengths")
        if confidences is not None:
            all_confidences = text_of(confidences)
            confidence_at = all_confidences.begin + 1
            confidences_end = all_confidences.begin + all_confidences.size
        confidence = Text(b"null", 4)
        for index in range(count):
            id.begin = PyUnicode_AsUTF8AndSize(ids[index], &id.size)
            if needs_escapes(id):
                return None
            score = next_part(b"]", score_at + 1, scores_end)
            score_at = score.begin + score.size + 2
            if confidence_at != NULL:
                confidence = next_part(b"]" if index == count - 1 else b",", confidence_at, confidences_end)
                confidence_at = confidence.begin + confidence.size + 1
            if not 0 <= <int64_t>classes[index] < len(self.endings):
                raise IndexError("no such class")
            ending = text_of(self.endings[classes[index]])
            documents.append(self.document(id, score, confidence, ending, offsets[index], timestamps[index]))
        return documents

    cdef object document(self, Text id, Text score, Text confidence, Text ending, int64_t offset, int64_t timestamp):
        cdef char offset_digits[MAX_NUMBER]
        cdef char timestamp_digits[MAX_NUMBER]
        cdef Text offset_text = written(offset, offset_digits), timestamp_text = written(timestamp, timestamp_digits)
        cdef Py_ssize_t size = (
            7 + id.size + self.model.size + score.size + 15 + confidence.size + ending.size
            + self.source.size + offset_text.size + 13 + timestamp_text.size + 2
        )
        cdef object value = PyBytes_FromStringAndSize(NULL, size)
        cdef char* at = PyBytes_AsString(value)
        at = put(at, b'{"id":"', 7)
        at = put(at, id.begin, id.size)
        at = put(at, self.model.begin, self.model.size)
        at = put(at, score.begin, score.size)
        at = put(at, b'],"confidence":', 15)
        at = put(at, confidence.begin, confidence.size)
        at = put(at, ending.begin, ending.size)
        at = put(at, self.source.begin, self.source.size)
        at = put(at, offset_text.begin, offset_text.size)
        at = put(at, b',"timestamp":', 13)
        at = put(at, timestamp_text.begin, timestamp_text.size)
        put(at, b"}}", 2)
        return value


cdef inline char* put(char* at, const char* text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef inline Text text_of(bytes value) except *:
    cdef char* begin = NULL
    cdef Text text
    PyBytes_AsStringAndSize(value, &begin, &text.size)
    text.begin = begin
    return text


cdef inline Text next_part(char end_mark, const char* at, const char* end) except *:
    """Return the text up to a mark."""
    cdef const char* mark = NULL
    if at < end:
        mark = <const char*>memchr(at, end_mark, end - at)
    if mark == NULL:
        raise ValueError("there are fewer numbers than rows")
    return Text(at, mark - at)


cdef inline bint needs_escapes(Text text) noexcept nogil:
    cdef bint found = False
    cdef Py_ssize_t index
    cdef uint8_t code
    for index in range(text.size):
        code = <uint8_t>text.begin[index]
        found |= code < 0x20 or code == 34 or code == 92  # the quotation mark and the backslash
    return found


cdef inline Text written(int64_t number, char* digits) noexcept nogil:
    """Write a number at the end of `digits`, which has MAX_NUMBER characters."""
    cdef char* at = digits + MAX_NUMBER
    cdef uint64_t rest = <uint64_t>number if number >= 0 else 0 - <uint64_t>number
    while True:
        at -= 1
        at[0] = <char>(48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if number < 0:
        at -= 1
        at[0] = b"-"
    return Text(at, digits + MAX_NUMBER - at)
