/* test_nomem.c - each call of this folder with its n-th allocation failing, for every n: it says so, gives back all
 * that it took, and leaves no file behind. Sanitizers have an allocator of their own, so there it only runs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "file/adapter.h"
#include "file/config.h"
#include "file/gguf_tok.h"
#include "file/io.h"

static long left = -1;                  /* allocations until one fails; below 0: none does */
static _Atomic long live;               /* taken and not given back, in any thread */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTED 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

static bool denied(void)
{
    if (left < 0 || left-- > 0)
        return false;
    errno = ENOMEM;
    return true;
}

static void *taken(void *p)
{
    live += p != NULL;
    return p;
}

void *malloc(size_t n) { return denied() ? NULL : taken(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { return denied() ? NULL : taken(__libc_calloc(n, size)); }
void *aligned_alloc(size_t align, size_t n) { return denied() ? NULL : taken(__libc_memalign(align, n)); }
void *realloc(void *p, size_t n)
{
    if (!p)
        return malloc(n);
    return denied() ? NULL : __libc_realloc(p, n);
}
void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}
#else
#define COUNTED 0
#endif

static gram_status open_dir(gram_err *err)
{
    gr_weights *w;
    gram_status rc = gr_weights_open_dir(&w, "tests/golden/files/sharded", err);

    gr_weights_close(w);
    return rc;
}

static gram_status open_unaligned(gram_err *err)
{
    gr_st *st;
    gram_status rc = gr_st_open(&st, "tests/golden/files/unaligned.safetensors", err);

    gr_st_close(st);
    return rc;
}

static gram_status open_packed(gram_err *err)
{
    static const char *const dir[] = { "tests/golden/models/llama_gptq", "tests/golden/models/llama_nf4" };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(dir) && !rc; i++) {
        gr_weights *w;
        rc = gr_weights_open_dir_by(&w, dir[i], 2, err);
        gr_weights_close(w);
    }
    return rc;
}

static gram_status open_parts(gram_err *err)
{
    gr_weights *w;
    gram_status rc = gr_weights_open_gguf(&w, "tests/golden/files/split-00001-of-00003.gguf", err);

    gr_weights_close(w);
    return rc;
}

static gram_status read_tok_model(gram_err *err)
{
    gr_gguf_tok t;
    gr_tok *tok;
    gram_status rc = gr_gguf_tok_of_dir(&t, "tests/golden/tokens/sp_llama", &(gr_config){ .vocabulary = 530 }, err);

    if (rc)
        return rc;
    rc = gr_tok_from_spec(&tok, "sp_llama", &t.lists.spec, err);
    gr_tok_close(tok);
    gr_gguf_tok_clear(&t);
    return rc;
}

static gram_status open_adapter(gram_err *err)
{
    gr_adapter *a;
    gram_status rc = gr_adapter_open(&a, "tests/golden/train/qwen2_bias/lora.gguf", err);

    gr_adapter_close(a);
    return rc;
}

static gram_status open_gguf(gram_err *err)
{
    gr_weights *w;
    gr_config c = { 0 };
    gram_status rc = gr_weights_open_gguf(&w, "tests/golden/config/gemma3.gguf", err);

    if (!rc)
        rc = gr_config_from_gguf(&c, gr_weights_gguf(w), w, err);
    gr_config_clear(&c);
    gr_weights_close(w);
    return rc;
}

static gram_status read_config(gram_err *err)
{
    gr_config c;
    gram_status rc = gr_config_read(&c, "tests/golden/config/gemma3_old", err);

    gr_config_clear(&c);
    return rc;
}

static gram_status read_gzip(gram_err *err)
{
    gr_lines *l;
    const char *line = "";
    size_t n;
    gram_status rc = gr_lines_open(&l, "tests/fuzz/corpus/lines/two.gz", err);

    while (!rc && line)
        rc = gr_lines_next(l, &line, &n, err);
    gr_lines_close(l);
    return rc;
}

static char npy[300], out[300];

static gram_status write_npy(gram_err *err)
{
    static const float x[4];

    unlink(npy);                        /* a name that exists has realpath() allocate where this test does not see it */
    return gr_npy_write_f32(npy, x, 2, 2, err);
}

static gram_status write_out(gram_err *err)
{
    uint64_t lines;
    gr_out *o;
    gram_status rc;

    unlink(out);
    rc = gr_out_resume(&o, out, &lines, err);

    if (!rc)
        rc = gr_out_write(o, "line\n", 5, err);
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    return rc;
}

/* A call may live without an allocation (qsort() sorts in place then), so success is fine as well. */
static void each_allocation_may_fail(void **state)
{
    static gram_status (*const call[])(gram_err *) = { open_dir, open_unaligned, open_packed, open_parts, open_gguf,
                                                       open_adapter, read_tok_model, read_config, read_gzip, write_npy,
                                                       write_out };

    (void)state;
    snprintf(npy, sizeof npy, "%s/x.npy", check_tmpdir());
    snprintf(out, sizeof out, "%s/out", check_tmpdir());
    for (size_t i = 0; i < GR_COUNT(call); i++) {
        bool failed = true;
        CHECK_OK(call[i](&check_err));      /* what libraries keep for themselves is taken here */
        for (long n = 0; failed && n < 2000; n++) {
            long before = live;
            gram_err err = { 0 };
            gram_status rc;
            left = n;
            rc = call[i](&err);
            failed = COUNTED && left < 0;
            left = -1;
            if (live != before)
                fail_msg("call %zu, allocation %ld: %ld not given back", i, n, live - before);
            if (rc && (rc != GRAM_ENOMEM || !strstr(err.text, "out of memory")))
                fail_msg("call %zu, allocation %ld: status %d, \"%s\"", i, n, rc, err.text);
        }
        assert_false(failed);
        CHECK_OK(call[i](&check_err));
    }
}

int main(void)
{
    const struct CMUnitTest test[] = { cmocka_unit_test(each_allocation_may_fail) };

    return cmocka_run_group_tests(test, NULL, NULL);
}
