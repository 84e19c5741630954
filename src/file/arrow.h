/* arrow.h - Arrow's two forms of a file (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format), read to
 * and written from the structures of Arrow's C data interface, which DuckDB takes and gives (table.c).
 *
 *     stream   message ... end                                .arrows, and what datasets keeps in its cache
 *     file     "ARROW1" 0 0 | message ... end | footer | its length | "ARROW1"       .arrow, .feather of version 2
 *     message  0xffffffff | i32 n | FlatBuffers, n bytes | body: buffers, each at a multiple of 8
 *
 * The first message is the schema, the others are dictionaries and batches of rows. The file comes from strangers: a
 * batch is given when all of its offsets, views, dictionary indices and texts (UTF-8) were proved to lie within it. */
#ifndef GR_FILE_ARROW_H
#define GR_FILE_ARROW_H

#include "base/mem.h"

/* As the interface has them; a structure whose release is NULL is released. */
typedef struct gr_arrow_schema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct gr_arrow_schema **children, *dictionary;
    void (*release)(struct gr_arrow_schema *s);
    void *private_data;
} gr_arrow_schema;
typedef struct gr_arrow_array {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct gr_arrow_array **children, *dictionary;
    void (*release)(struct gr_arrow_array *a);
    void *private_data;
} gr_arrow_array;
typedef struct gr_arrow_stream {
    int (*get_schema)(struct gr_arrow_stream *s, gr_arrow_schema *out);
    int (*get_next)(struct gr_arrow_stream *s, gr_arrow_array *out);     /* out->release NULL: no more */
    const char *(*get_last_error)(struct gr_arrow_stream *s);
    void (*release)(struct gr_arrow_stream *s);
    void *private_data;
} gr_arrow_stream;

bool gr_arrow_is(const void *p, size_t n);      /* whether a file begins with these bytes */

/* The file stays mapped, and what its stream gives stays right, until it is closed. fd: an open regular file. */
typedef struct gr_arrow gr_arrow;
gram_status gr_arrow_open(gr_arrow **out, const char *path, int fd, gram_err *err);
gr_arrow_stream *gr_arrow_rows(gr_arrow *a);    /* its batches, once; the file's */
/* What get_next() failed with; GRAM_OK: it did not. */
gram_status gr_arrow_failed(const gr_arrow *a, gram_err *err);
void gr_arrow_close(gr_arrow *a);               /* NULL is fine */

/* Writes a file batch by batch, of the file form or of the stream form. name: of what is written, for errors. */
typedef struct gr_arrow_writer gr_arrow_writer;
gram_status gr_arrow_create(gr_arrow_writer **out, const char *path, const char *name, bool stream,
                            const gr_arrow_schema *schema, gram_err *err);
gram_status gr_arrow_add(gr_arrow_writer *w, const gr_arrow_array *rows, gram_err *err);
gram_status gr_arrow_finish(gr_arrow_writer *w, gram_err *err);
void gr_arrow_writer_close(gr_arrow_writer *w);     /* NULL is fine; without gr_arrow_finish() the file is not whole */

#endif
