# cython: language_level=3


cdef class Outbox:
    cdef char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef readonly unsigned long long frames
    cdef readonly bint combined

    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int append_text(self, const char* head, Py_ssize_t head_size, const char* body, Py_ssize_t body_size,
                         const char* tail, Py_ssize_t tail_size) except -1


cdef class Stream:
    cdef readonly str name
    cdef readonly str kind
    cdef readonly bytes prefix
    cdef readonly unsigned long long frames
    cdef readonly unsigned long long offered
    cdef list outboxes
    cdef readonly Py_ssize_t subscribers

    cdef int publish_ptr(self, const char* payload, Py_ssize_t size) except -1
