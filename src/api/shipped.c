/* shipped.c - the judge that comes with gram, and where a base model may be. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/shipped.h"
#include "base/err.h"
#include "file/fetch.h"
#include "file/io.h"
#include "gram/shipped.h"

/* The directory that the shared library is in, or else the program; NULL: not known, or out of memory. */
static char *home_of_code(void)
{
    char exe[4096], *real, *slash;
    Dl_info in;
    ssize_t n;

    if (dladdr(&gr_base_model, &in) && in.dli_fname && strstr(in.dli_fname, ".so") && strchr(in.dli_fname, '/')) {
        real = realpath(in.dli_fname, NULL);
    } else {
        n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        real = n > 0 ? gr_strndup(exe, (size_t)n) : NULL;
    }
    slash = real ? strrchr(real, '/') : NULL;
    if (slash)
        *slash = '\0';
    return real;
}

/* *out stays NULL where there is none. */
static gram_status judge_in(char **out, const char *home, const char *below, gram_err *err)
{
    static const char *const kind[] = { "scalar", "generative" };
    bool is = false;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(kind) && !rc && !*out; i++) {
        gr_buf path = { 0 };
        rc = gr_buf_printf(&path, "%s/%s/%s", home, below, kind[i]) ? gr_adapter_is(&is, path.p, err)
                                                                     : gr_nomem(err, "judge");
        if (!rc && is && !(*out = realpath(path.p, NULL)))
            rc = gr_nomem(err, "judge");
        gr_buf_clear(&path);
    }
    return rc;
}

gram_status gram_shipped_judge(char **out, gram_err *err)
{
    static const char *const below[] = { "../data/judge", "../judge", "../share/gram/judge", "../../share/gram/judge" };
    const char *named = getenv("GRAM_JUDGE");
    char *home;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (named && *named) {
        *out = gr_strdup(named);
        return *out ? GRAM_OK : gr_nomem(err, named);
    }
    home = home_of_code();
    for (size_t i = 0; home && i < GR_COUNT(below) && !rc && !*out; i++)
        rc = judge_in(out, home, below[i], err);
    if (!rc && !*out)
        rc = gr_fail(err, GRAM_EIO, "no model is named, and no judge came with this program (looked from %s for "
                     "data/judge and share/gram/judge; GRAM_JUDGE may name one)", home ? home : "nowhere");
    free(home);
    return rc;
}

/* ---- The base ----------------------------------------------------------------------------------- */

gram_status gr_shipped_cache(gr_buf *dir, gram_err *err)
{
    const char *own = getenv("GRAM_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool ok;

    if (own && *own)
        ok = gr_buf_puts(dir, own);
    else if (xdg && *xdg == '/')
        ok = gr_buf_printf(dir, "%s/gram", xdg);
    else if (home && *home)
        ok = gr_buf_printf(dir, "%s/.cache/gram", home);
    else
        return gr_fail(err, GRAM_EARG, "there is no cache directory: none of GRAM_CACHE, XDG_CACHE_HOME and HOME is "
                       "set");
    return ok ? GRAM_OK : gr_nomem(err, "cache directory");
}

/* Takes path where it is a file of the card's size. */
static bool fits(const char *path, const gr_card *card)
{
    struct stat st;

    return path && *path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == card->base_bytes;
}

static gram_status try_below(char **out, const char *dir, const char *below, const gr_card *card, gram_err *err)
{
    gr_buf path = { 0 };

    if (*out || !dir || !*dir)
        return GRAM_OK;
    if (!gr_buf_printf(&path, "%s/%s%s", dir, below, card->base_file)) {
        gr_buf_clear(&path);
        return gr_nomem(err, card->base_file);
    }
    if (fits(path.p, card))
        *out = path.p;
    else
        gr_buf_clear(&path);
    return GRAM_OK;
}

static gram_status try_itself(char **out, const char *path, const gr_card *card, gram_err *err)
{
    if (*out || !fits(path, card))
        return GRAM_OK;
    *out = gr_strdup(path);
    return *out ? GRAM_OK : gr_nomem(err, path);
}

/* Everywhere that a base with this name and size may be. *out stays NULL where it is not. */
static gram_status look(char **out, const gr_adapter *a, const gr_card *card, gram_err *err)
{
    char *home = home_of_code(), *said = NULL;
    gr_buf dir = { 0 };
    gram_status rc;

    if (!gr_adapter_base(&said, a, NULL, NULL))
        rc = try_itself(out, said, card, err);
    else
        rc = GRAM_OK;
    if (!rc)
        rc = try_below(out, a->path, "", card, err);
    if (!rc)
        rc = try_itself(out, getenv("GRAM_MODEL"), card, err);
    if (!rc && !gr_shipped_cache(&dir, NULL))
        rc = try_below(out, dir.p, "", card, err);
    if (!rc)
        rc = try_below(out, home, "model/", card, err);
    if (!rc)
        rc = try_below(out, home, "../build/model/", card, err);
    free(home);
    free(said);
    gr_buf_clear(&dir);
    return rc;
}

gram_status gr_shipped_base(char **out, const gr_adapter *a, const gr_card *card, const char *given, gram_err *err)
{
    gram_status rc;

    *out = NULL;
    if (given || !card->base_file)
        return gr_adapter_base(out, a, given, err);
    rc = look(out, a, card, err);
    if (rc || *out)
        return rc;
    if (card->base_sha256 && !strcmp(card->base_sha256, gr_base_model.sha256))
        return gr_fail(err, GRAM_EIO, "the base model of the judge %s is not here yet: `gram fetch` gets it (%s, 98 "
                                      "MB)",
                       card->name ? card->name : a->path, card->base_file);
    return gr_fail(err, GRAM_EIO, "%s: its base model %s of %llu bytes is nowhere that was looked: `base` names it",
                   a->path, card->base_file, (unsigned long long)card->base_bytes);
}

/* ---- Fetching ----------------------------------------------------------------------------------- */

gram_status gram_fetch(const char *dir, gram_progress_fn *progress, void *arg, char **path, bool *there, gram_err *err)
{
    const gr_download hooks = { .progress = progress, .arg = arg };
    gr_buf own = { 0 };
    char *at = NULL;
    bool was = false;
    gram_status rc = dir ? GRAM_OK : gr_shipped_cache(&own, err);

    if (!rc)
        rc = gr_fetch(&gr_base_model, dir ? dir : own.p, &hooks, &at, &was, err);
    if (path)
        *path = at;
    else
        free(at);
    if (there)
        *there = was;
    gr_buf_clear(&own);
    return rc;
}
