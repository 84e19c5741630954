/* duckdb.c - see duckdb.h. The library is libduckdb.so, or the extension module of the Python package "duckdb", which
 * has the same interface in it and is a `pip install` away where Debian has no package. */
#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/library.h"
#include "file/duckdb.h"
#include "file/io.h"

#define NAMED "GRAM_DUCKDB"
#define MODULE "_duckdb.cpython-*.so"

static struct { gr_duckdb f; bool tried; gram_status rc; gram_err err; } loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A module of Python's asks for symbols of the interpreter: "cpython-311" for those of libpython3.11. In a Python
 * process they are there. */
static bool load_python(const char *path)
{
    const char *at = strstr(path, "cpython-3");
    char name[64];
    size_t n;

    if (!at || dlsym(RTLD_DEFAULT, "Py_GetVersion"))
        return true;
    at += strlen("cpython-3");
    n = strspn(at, "0123456789");
    snprintf(name, sizeof name, "libpython3.%.*s.so.1.0", (int)gr_min(n, 8), at);
    return dlopen(name, RTLD_LAZY | RTLD_GLOBAL);
}

static void *load_from(const char *path)
{
    return load_python(path) ? dlopen(path, RTLD_LAZY | RTLD_LOCAL) : NULL;
}

static void *load_match(const char *root, const char *below)
{
    gr_buf pattern = { 0 };
    glob_t found = { 0 };
    void *library = NULL;

    if (root && gr_buf_printf(&pattern, "%s/%s" MODULE, root, below) && !glob(pattern.p, 0, NULL, &found))
        for (size_t i = 0; i < found.gl_pathc && !library; i++)
            library = load_from(found.gl_pathv[i]);
    globfree(&found);
    gr_buf_clear(&pattern);
    return library;
}

static void *find(gram_err *err)
{
    const char *named = getenv(NAMED);
    void *library;

    if (named && *named) {
        library = load_from(named);
        if (!library)
            gr_fail(err, GRAM_EUNSUPPORTED, "DuckDB, which " NAMED " names, is not to be loaded: %s", dlerror());
        return library;
    }
    library = dlopen("libduckdb.so", RTLD_LAZY | RTLD_LOCAL);
    if (!library)
        library = load_match(getenv("VIRTUAL_ENV"), "lib/python3*/site-packages/");
    if (!library)
        library = load_match(getenv("HOME"), ".local/lib/python3*/site-packages/");
    if (!library)
        library = load_match("/usr/local/lib", "python3*/dist-packages/");
    if (!library)
        library = load_match("/usr/lib/python3/dist-packages", "");
    if (!library)
        gr_fail(err, GRAM_EUNSUPPORTED, "DuckDB reads and writes tables, and is not here: `pip install duckdb`, or "
                "name libduckdb.so in " NAMED " (looked for libduckdb.so, and for the Python package in VIRTUAL_ENV, "
                "~/.local, /usr/local/lib and /usr/lib/python3; it needs libpython of its version)");
    return library;
}

static void load(void)
{
    const gr_symbol symbol[] = {
        { &loaded.f.open, "duckdb_open" }, { &loaded.f.close, "duckdb_close" },
        { &loaded.f.connect, "duckdb_connect" }, { &loaded.f.disconnect, "duckdb_disconnect" },
        { &loaded.f.query, "duckdb_query" }, { &loaded.f.result_error, "duckdb_result_error" },
        { &loaded.f.destroy_result, "duckdb_destroy_result" }, { &loaded.f.prepare, "duckdb_prepare" },
        { &loaded.f.prepare_error, "duckdb_prepare_error" }, { &loaded.f.destroy_prepare, "duckdb_destroy_prepare" },
        { &loaded.f.execute_streaming, "duckdb_execute_prepared_streaming" },
        { &loaded.f.fetch_chunk, "duckdb_fetch_chunk" }, { &loaded.f.destroy_chunk, "duckdb_destroy_data_chunk" },
        { &loaded.f.chunk_size, "duckdb_data_chunk_get_size" },
        { &loaded.f.chunk_vector, "duckdb_data_chunk_get_vector" },
        { &loaded.f.vector_data, "duckdb_vector_get_data" },
        { &loaded.f.arrow_scan, "duckdb_arrow_scan" }, { &loaded.f.query_arrow, "duckdb_query_arrow" },
        { &loaded.f.arrow_schema, "duckdb_query_arrow_schema" }, { &loaded.f.arrow_array, "duckdb_query_arrow_array" },
        { &loaded.f.arrow_error, "duckdb_query_arrow_error" }, { &loaded.f.destroy_arrow, "duckdb_destroy_arrow" },
    };
    void *library = find(&loaded.err);
    const char *missing = library ? gr_library_missing(library, symbol, GR_COUNT(symbol)) : NULL;

    loaded.rc = library ? GRAM_OK : GRAM_EUNSUPPORTED;
    if (missing)
        loaded.rc = gr_fail(&loaded.err, GRAM_EUNSUPPORTED, "DuckDB is here without %s: wanted 1.0 or later", missing);
}

gram_status gr_duckdb_load(const gr_duckdb **out, const char *what, gram_err *err)
{
    *out = NULL;
    pthread_once(&once, load);
    if (loaded.rc)
        return gr_fail(err, loaded.rc, "%s: %s", what, loaded.err.text);
    *out = &loaded.f;
    return GRAM_OK;
}
