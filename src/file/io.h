/* io.h - whole files read, lines streamed (gzip too), and files written so that nothing is half there. */
#ifndef GR_FILE_IO_H
#define GR_FILE_IO_H

#include <dirent.h>
#include <stdio.h>
#include "base/mem.h"

/* A file mapped read-only; size 0 maps to data NULL. A Git LFS pointer is refused as what it is. */
typedef struct { const unsigned char *data; size_t size; } gr_map;
gram_status gr_map_open(gr_map *m, const char *path, gram_err *err);
void gr_map_close(gr_map *m);
/* Adds the file's size and bytes to the digest. */
gram_status gr_file_digest(const char *path, uint64_t *h, gram_err *err);
void gr_map_release(const gr_map *m);   /* gives back the pages read so far; they are read again when they are needed */

/* The whole of a regular file of at most `limit` bytes, NUL-terminated; *out is malloc'ed. */
gram_status gr_read_file(const char *path, size_t limit, char **out, size_t *n, gram_err *err);
bool gr_write_all(int fd, const void *p, size_t n);     /* false: errno says why */
bool gr_path_exists(const char *path);
bool gr_path_named(const char *path);       /* the same, or reading it would fail: a link that leads nowhere, ... */
bool gr_path_same(const char *a, const char *b);    /* both are there, and are one file */
/* GRAM_EARG: rows of `in` would be lost by writing `out`. */
gram_status gr_path_spares(const char *out, const char *in, gram_err *err);
bool gr_path_regular(const char *path);     /* a file that can be read again; a pipe gives its bytes once */
gram_status gr_make_directory(const char *path, gram_err *err);        /* there already is fine */
gram_status gr_make_directories(const char *path, gram_err *err);      /* and those above it */
char *gr_path_join(const char *dir, const char *name);      /* malloc'ed; NULL: out of memory */
/* The next name in d, which is open on `dir`, in no order; NULL at the end. It lives until the next call. */
gram_status gr_next_name(DIR *d, const char *dir, const char **name, gram_err *err);

/* Lines of a text file, "-" for standard input, gzip and zstd recognised by their first bytes. A file of Parquet, CSV
 * or TSV gives its rows as JSON objects (table.h). A line is given without its newline. One longer than 64 MiB fails
 * with its number, GRAM_EFORMAT, and the next call gives the line after it; a compressed stream that ends early is
 * GRAM_EIO, since nothing comes after it; and so is a file that is no text (Arrow, UTF-16, a Git LFS pointer, a web
 * page ...), with what it is. */
typedef struct gr_lines gr_lines;
gram_status gr_lines_open(gr_lines **out, const char *path, gram_err *err);
void gr_lines_close(gr_lines *l);
/* *line NULL at the end. The bytes live until the next call. */
gram_status gr_lines_next(gr_lines *l, const char **line, size_t *n, gram_err *err);
uint64_t gr_lines_number(const gr_lines *l);                /* of the line last given, from 1 */

/* A file that appears under its name only when it is whole: written as NAME.partial (or, with keep
 * false, a unique temporary beside it), flushed, fsynced and renamed by gr_out_commit(). "-" is standard
 * output. keep: gr_out_close() without commit leaves NAME.partial for a resume. */
typedef struct gr_out gr_out;
gram_status gr_out_open(gr_out **out, const char *path, bool keep, gram_err *err);
/* Opens NAME.partial to go on: whole lines are kept, a line cut short at the end is removed, and *lines is how
 * many there are. Absent: as gr_out_open(keep true). */
gram_status gr_out_resume(gr_out **out, const char *path, uint64_t *lines, gram_err *err);
bool gr_out_begun(const char *path);                        /* NAME.partial is there */
gram_status gr_out_keep(gr_out *o, uint64_t lines, gram_err *err);  /* behind it: of these the first alone */
/* What is written are rows, an object a line: when they are committed, they become a table under a name that ends like
 * one's (table.h), and are compressed under one that ends in ".gz" or ".zst". Fails where that cannot be done, before
 * any row is written. */
gram_status gr_out_rows(gr_out *o, gram_err *err);
gram_status gr_out_write(gr_out *o, const void *p, size_t n, gram_err *err);
gram_status gr_out_line(gr_out *o, const void *p, size_t n, gram_err *err);     /* the same, and a newline */
gram_status gr_out_flush(gr_out *o, gram_err *err);         /* to the file, so that a kill loses nothing written */
gram_status gr_out_commit(gr_out *o, gram_err *err);        /* whole, under its name; then close it */
void gr_out_close(gr_out *o);                               /* NULL is fine */
void gr_out_drop(gr_out *o);                                /* the same, and nothing is left of what it wrote */
const char *gr_out_partial(const gr_out *o);                /* what is written until then; NULL: out itself */
bool gr_out_in_place(const gr_out *o);                      /* a pipe or the like: what is written is out */
gram_status gr_write_file(const char *path, const void *p, size_t n, gram_err *err);   /* all of these at once */

/* A float32 matrix [rows, cols] as a NumPy .npy file, row by row. */
gram_status gr_npy_write_f32(const char *path, const float *x, size_t rows, size_t cols, gram_err *err);

#endif
