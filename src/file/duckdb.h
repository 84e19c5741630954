/* duckdb.h - the functions of DuckDB's C interface that table.c calls, found when the first table is met. */
#ifndef GR_FILE_DUCKDB_H
#define GR_FILE_DUCKDB_H

#include "base/mem.h"

typedef struct { uint64_t a, b, c; void *x, *y, *z; } gr_duckdb_result;     /* duckdb_result, 48 bytes */
typedef union {                                 /* duckdb_string_t: n bytes, up to 12 of them in the place itself */
    struct { uint32_t n; char at[12]; } in;
    struct { uint32_t n; char prefix[4]; const char *at; } out;
} gr_duckdb_string;

typedef struct {
    int (*open)(const char *path, void **db);
    void (*close)(void **db);
    int (*connect)(void *db, void **connection);
    void (*disconnect)(void **connection);
    int (*query)(void *connection, const char *sql, gr_duckdb_result *out);
    const char *(*result_error)(gr_duckdb_result *r);
    void (*destroy_result)(gr_duckdb_result *r);
    int (*prepare)(void *connection, const char *sql, void **statement);
    const char *(*prepare_error)(void *statement);
    void (*destroy_prepare)(void **statement);
    int (*execute_streaming)(void *statement, gr_duckdb_result *out);
    void *(*fetch_chunk)(gr_duckdb_result r);
    void (*destroy_chunk)(void **chunk);
    uint64_t (*chunk_size)(void *chunk);
    void *(*chunk_vector)(void *chunk, uint64_t column);
    void *(*vector_data)(void *vector);
    /* Arrow's C data interface (arrow.h), in and out: */
    int (*arrow_scan)(void *connection, const char *table, void *stream);
    int (*query_arrow)(void *connection, const char *sql, void **result);
    int (*arrow_schema)(void *result, void **schema);
    int (*arrow_array)(void *result, void **array);
    const char *(*arrow_error)(void *result);
    void (*destroy_arrow)(void **result);
} gr_duckdb;

/* Loads it once for the process; *out lives as long. what: the file that needs it. GRAM_EUNSUPPORTED: it is nowhere,
 * and where it was looked for. */
gram_status gr_duckdb_load(const gr_duckdb **out, const char *what, gram_err *err);

#endif
