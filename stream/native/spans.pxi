"""Byte strings in buffers, as `core.record_columns.ByteColumn` has them."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from libc.string cimport memset


cdef void* allocated(size_t num_bytes) except NULL:
    """Return zeroed memory, to be freed with PyMem_Free."""
    cdef void* memory = PyMem_Malloc(max(num_bytes, 1))
    if memory == NULL:
        raise MemoryError
    memset(memory, 0, num_bytes)
    return memory


cdef class Spans:
    """The strings of a column, checked: each lies in its buffer. Holds the buffers."""

    cdef Py_ssize_t count, num_buffers, num_held
    cdef Py_buffer columns[3]
    cdef Py_buffer* buffers

    def __cinit__(self, column):
        cdef Py_ssize_t index
        cdef tuple buffers = tuple(column.buffers)
        self.buffers = <Py_buffer*>allocated(len(buffers) * sizeof(Py_buffer))
        for buffer in buffers:
            PyObject_GetBuffer(buffer, &self.buffers[self.num_buffers], PyBUF_SIMPLE)
            self.num_buffers += 1
        for array in (column.buffer_N, column.begin_N, column.length_N):
            PyObject_GetBuffer(array, &self.columns[self.num_held], PyBUF_C_CONTIGUOUS)
            self.num_held += 1
        self.count = self.columns[0].len // <Py_ssize_t>sizeof(int64_t)
        for index in range(3):
            if self.columns[index].itemsize != sizeof(int64_t) or self.columns[index].len != self.columns[0].len:
                raise ValueError("the columns do not have the same number of int64")
        for index in range(self.count):
            if not self.is_inside(index):
                raise ValueError("a string is not in its buffer")

    def __dealloc__(self):
        cdef Py_ssize_t index
        for index in range(self.num_held):
            PyBuffer_Release(&self.columns[index])
        for index in range(self.num_buffers):
            PyBuffer_Release(&self.buffers[index])
        PyMem_Free(self.buffers)

    cdef inline bint is_inside(self, Py_ssize_t index) noexcept:
        cdef int64_t buffer = (<int64_t*>self.columns[0].buf)[index]
        cdef int64_t begin = (<int64_t*>self.columns[1].buf)[index]
        cdef int64_t length = (<int64_t*>self.columns[2].buf)[index]
        if length < 0:
            return True
        if not 0 <= buffer < self.num_buffers or begin < 0:
            return False
        return length <= self.buffers[buffer].len and begin <= self.buffers[buffer].len - length

    cdef inline Py_ssize_t length_of(self, Py_ssize_t index) noexcept:
        return (<int64_t*>self.columns[2].buf)[index]

    cdef inline const char* begin_of(self, Py_ssize_t index) noexcept:
        """Return where a string begins. Only for those that are not None."""
        cdef int64_t buffer = (<int64_t*>self.columns[0].buf)[index]
        return <const char*>self.buffers[buffer].buf + (<int64_t*>self.columns[1].buf)[index]
