/* arrow_int.h - what arrow.c (messages, schema), arrow_batch.c (rows) and arrow_write.c share. */
#ifndef GR_FILE_ARROW_INT_H
#define GR_FILE_ARROW_INT_H

#include "file/arrow.h"
#include "file/flatbuf.h"
#include "file/io.h"

/* The types of the schema, as its FlatBuffers number them; and how deep columns may lie in one another. */
enum { GR_ARROW_NULL = 1, GR_ARROW_INT, GR_ARROW_FLOAT, GR_ARROW_BINARY, GR_ARROW_UTF8, GR_ARROW_BOOL,
       GR_ARROW_DECIMAL, GR_ARROW_DATE, GR_ARROW_TIME, GR_ARROW_TIMESTAMP, GR_ARROW_INTERVAL, GR_ARROW_LIST,
       GR_ARROW_STRUCT, GR_ARROW_UNION, GR_ARROW_FIXED_BINARY, GR_ARROW_FIXED_LIST, GR_ARROW_MAP, GR_ARROW_DURATION,
       GR_ARROW_LARGE_BINARY, GR_ARROW_LARGE_UTF8, GR_ARROW_LARGE_LIST, GR_ARROW_BINARY_VIEW = 23,
       GR_ARROW_UTF8_VIEW };
enum { GR_ARROW_DEEPEST = 16 };

/* How the values of a column lie. */
typedef enum {
    GR_LIE_NULL,                /* nothing */
    GR_LIE_BITS,                /* validity, a bit each */
    GR_LIE_FIXED,               /* validity, `width` bytes each */
    GR_LIE_TEXT,                /* validity, offsets of `width` bytes, bytes */
    GR_LIE_VIEW,                /* validity, views of 16 bytes, and as many buffers as the batch says */
    GR_LIE_LIST,                /* validity, offsets of `width` bytes; one child. Maps too */
    GR_LIE_EACH,                /* validity; one child with `width` values for each */
    GR_LIE_STRUCT               /* validity; children */
} gr_lie;
typedef struct gr_column {
    char *name;
    char format[48];            /* as the C data interface has it */
    gr_lie lie;
    size_t width;
    bool utf8, nullable;
    struct gr_column *child;    /* [n] owned */
    size_t n;
    struct gr_column *values;   /* of a dictionary: its type; this column is then its index. Owned */
    int64_t id;
    size_t dictionary;          /* where its message is, 0: not met yet */
} gr_column;

typedef struct { const unsigned char *body; size_t n; } gr_body;
struct gr_arrow {
    char *name;
    gr_map map;
    size_t at, end;             /* of the messages that are not read yet */
    gr_column root;             /* a struct of the columns */
    gr_arrow_schema schema;     /* of it */
    gr_arrow_stream stream;
    gram_err err;               /* status GRAM_OK: none */
    bool failed;
};

/* The message at a->at, which then is behind it: *kind 0 at the end. */
enum { GR_MESSAGE_SCHEMA = 1, GR_MESSAGE_DICTIONARY = 2, GR_MESSAGE_BATCH = 3 };
gram_status gr_arrow_message(gr_arrow *a, gr_flat *f, size_t *header, int *kind, gr_body *body, gram_err *err);
gram_status gr_arrow_bad(const gr_arrow *a, const char *what, gram_err *err);
/* The rows of a RecordBatch, proved; columns: of which it is. *out is the caller's to release. */
gram_status gr_arrow_batch(gr_arrow *a, const gr_column *columns, size_t n, gr_flat *f, size_t batch, gr_body body,
                           gr_arrow_array *out, gram_err *err);

#endif
