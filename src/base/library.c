/* library.c - see library.h. */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/library.h"
#include "base/mem.h"

/* *broken: it is there, and dlerror() says what is wrong. */
static void *open_in(const char *folder, const char *file, bool *broken)
{
    gr_buf path = { 0 };
    void *library = NULL;

    if (gr_buf_printf(&path, "%s/%s", folder, file) && !access(path.p, R_OK)) {
        library = dlopen(path.p, RTLD_NOW | RTLD_LOCAL);
        *broken = !library;
    }
    gr_buf_clear(&path);
    return library;
}

static void *open_by_pattern(const char *pattern, const char *file, bool *broken)
{
    void *library = NULL;
    glob_t found;

    if (glob(pattern, GLOB_TILDE, NULL, &found))
        return NULL;
    for (size_t i = 0; i < found.gl_pathc && !library && !*broken; i++)
        library = open_in(found.gl_pathv[i], file, broken);
    globfree(&found);
    return library;
}

void *gr_library_open(const char *file, const char *const *place, size_t n, gram_err *err)
{
    gr_buf looked = { 0 };
    void *library = NULL;
    bool broken = false;

    for (size_t i = 0; i < n && !library && !broken; i++) {
        if (!place[i])
            continue;
        gr_buf_printf(&looked, "%s%s", looked.n ? ", " : "", *place[i] ? place[i] : "where the loader looks");
        library = *place[i] ? open_by_pattern(place[i], file, &broken) : dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    if (broken)
        gr_fail(err, GRAM_EUNSUPPORTED, "%s cannot be used: %s", file, dlerror());
    else if (!library)
        gr_fail(err, GRAM_EUNSUPPORTED, "%s is missing: looked for it in %s", file, looked.p ? looked.p : "no place");
    gr_buf_clear(&looked);
    return library;
}

const char *gr_library_missing(void *library, const gr_symbol *symbol, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *at = dlsym(library, symbol[i].name);
        if (!at)
            return symbol[i].name;
        memcpy(symbol[i].to, &at, sizeof at);       /* POSIX lets a function's address be an object's */
    }
    return NULL;
}

bool gr_library_folder(const void *where, const char *follows, char *out, size_t size)
{
    Dl_info info;
    const char *end;
    int n;

    if (!dladdr(where, &info) || !info.dli_fname)
        return false;
    end = strrchr(info.dli_fname, '/');
    n = snprintf(out, size, "%.*s%s", end ? (int)(end - info.dli_fname) : 1, end ? info.dli_fname : ".", follows);
    return n > 0 && (size_t)n < size;
}
