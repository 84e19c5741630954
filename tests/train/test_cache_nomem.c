/* test_cache_nomem.c - rows in a file with the n-th allocation failing, for every n: each failure is told, nothing is
 * left under the file's name, and nothing leaks. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nomem.h"
#include "file/io.h"
#include "train/cache.h"
#include "train/set_int.h"

static char *path;

static gram_status add_rows(gr_cache_writer *w, gr_set *counts)
{
    static int32_t ids[] = { 1, 2, 70000 };
    gram_status rc = GRAM_OK;

    for (int i = 0; i < 3 && !rc; i++) {
        gr_example e = { .seq = { { ids, 3, 3 }, { ids, 2, 2 } }, .weight = 1 };
        gr_set_digest(counts, &e);
        gr_set_measure(counts, &e);
        rc = gr_cache_add(w, &e, &check_err);
    }
    return rc ? rc : gr_cache_warn(w, "a row", &check_err);
}

/* Writes a file, opens it and reads its rows. */
static gram_status run(void)
{
    gr_set counts = { 0 }, s = { 0 };
    gr_example room = { 0 };
    const gr_example *e;
    gr_cache_writer *w;
    gram_status rc = gr_cache_create(&w, path, "key", &check_err);

    if (!rc)
        rc = add_rows(w, &counts);
    if (!rc)
        rc = gr_cache_finish(w, &counts, &check_err);
    gr_cache_drop(w);
    if (!rc)
        rc = gr_cache_open(&s, path, "key", 1 << 17, &check_err);
    for (size_t i = 0; i < s.n && !rc; i++)
        rc = gr_set_get(&s, i, &room, &e, &check_err);
    assert_true(rc || (s.n == 3 && room.seq[0].p[2] == 70000));
    gr_room_clear(&room);
    gr_set_clear(&s);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    bool done = false;
    long n = 0;

    (void)state;
    path = check_tmppath("rows");
    CHECK_OK(run());
    for (; !done; n++) {
        long before = nomem_live;
        gram_status rc;
        unlink(path);
        nomem_left = n;
        rc = run();
        done = NOMEM_COUNTED ? nomem_left >= 0 : true;
        nomem_left = -1;
        if (rc != (done ? GRAM_OK : GRAM_ENOMEM))
            fail_msg("allocation %ld: status %d: %s", n, (int)rc, check_err.text);
        if (nomem_live != before)
            fail_msg("allocation %ld: %ld blocks leaked", n, nomem_live - before);
    }
    assert_true(!NOMEM_COUNTED || n > 10);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
