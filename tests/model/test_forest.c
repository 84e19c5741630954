/* test_forest.c - packed prefixes: every sequence is found again, each distinct prefix stands once, and what the
 * cache holds is what was put there. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "device.h"
#include "model/forest.h"

/* The tokens of the path that ends at sequence i's last row, cached ones from `known`, must be the sequence. */
static void check_path(const gr_forest *f, size_t i, const gr_seq *seq)
{
    size_t s = 0, t = seq->n;

    while (!(f->seg[s].row <= f->leaf_row[i] && f->leaf_row[i] < f->seg[s].row + f->seg[s].len - f->seg[s].cached))
        s++;
    assert_int_equal(f->leaf_row[i], f->seg[s].row + f->seg[s].len - f->seg[s].cached - 1);
    assert_int_equal(f->seg[s].pos + f->seg[s].len, seq->n);
    for (; s != GR_NO_SEGMENT; s = f->seg[s].parent) {
        const gr_segment *seg = &f->seg[s];
        for (size_t k = seg->len; k-- > seg->cached; ) {
            assert_int_equal(f->token[seg->row + k - seg->cached], seq->token[--t]);
            assert_int_equal(f->pos[seg->row + k - seg->cached], t);
            assert_int_equal(f->one_byte[seg->row + k - seg->cached], gr_seq_one_byte(seq, t));
        }
        t -= seg->cached;
        assert_int_equal(t, seg->pos);
    }
    assert_int_equal(t, 0);
}

static bool begin_alike(const gr_seq *a, const gr_seq *b, size_t n)
{
    bool same = a->n >= n && b->n >= n;

    for (size_t t = 0; t < n && same; t++)
        same = a->token[t] == b->token[t] && gr_seq_one_byte(a, t) == gr_seq_one_byte(b, t);
    return same;
}

/* Distinct prefixes of all sequences, counted the slow way. */
static size_t distinct(const gr_seq *seq, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t len = 1; len <= seq[i].n; len++) {
            bool seen = false;
            for (size_t j = 0; j < i && !seen; j++)
                seen = begin_alike(&seq[i], &seq[j], len);
            count += !seen;
        }
    return count;
}

#define MOST 24
static int32_t tokens[MOST][32];

/* Short sequences over few tokens: prefixes of each other, equal ones and strangers. In some forests they have tokens
 * of one byte: between some first and some last ones, anywhere, or all. */
static size_t draw(gr_seq *seq, unsigned *state)
{
    size_t n = 1 + (size_t)rand_r(state) % MOST;
    int kind = rand_r(state) % 4;

    for (size_t i = 0; i < n; i++) {
        seq[i] = (gr_seq){ tokens[i], 1 + (size_t)rand_r(state) % 20 };
        for (size_t t = 0; t < seq[i].n; t++)
            tokens[i][t] = rand_r(state) % (t % 5 ? 1 : 3);
        seq[i].one_from = kind == 1 ? 2 : kind == 2 ? (size_t)rand_r(state) % (seq[i].n + 1) : 0;
        seq[i].one_to = kind == 0 ? 0 : kind == 1 ? seq[i].n - gr_min(seq[i].n, 3) :
                        kind == 2 ? (size_t)rand_r(state) % (seq[i].n + 1) : seq[i].n;
    }
    return n;
}

static void each_prefix_stands_once(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        gr_seq seq[MOST];
        size_t n = draw(seq, &seed);
        gr_forest f;
        CHECK_OK(gr_forest_init(&f, seq, n, 0, NULL, GR_SAVE_SHARED, &check_err));
        assert_int_equal(f.rows, distinct(seq, n));
        for (size_t i = 0; i < n; i++)
            check_path(&f, i, &seq[i]);
        gr_forest_clear(&f, true);
    }
}

static float *key(const gr_kv_tree *t, const gr_kv_node *node, size_t i)
{
    return gr_page_keys(gr_kv_pages(t), 0, gr_kv_node_pages(node)[i / GR_PAGE], i % GR_PAGE).p;
}

static float *value(const gr_kv_tree *t, const gr_kv_node *node, size_t i)
{
    return gr_page_values(gr_kv_pages(t), 1, gr_kv_node_pages(node)[i / GR_PAGE], i % GR_PAGE).p;
}

/* What stands for a value: a token and of how many bytes it is. */
static int worth(int32_t token, bool one_byte)
{
    return token + (one_byte ? 100 : 0);
}

/* Writes what stands for keys and values, which the cache must hand back: a key is its position. */
static void compute(const gr_forest *f, const gr_kv_tree *t)
{
    for (size_t s = 0; s < f->n_segs; s++) {
        const gr_kv_room *room = &f->seg[s].save;
        for (size_t k = 0; room->node && k < room->n; k++) {
            *key(t, room->node, room->first + k) = (float)f->pos[f->seg[s].row + k];
            *value(t, room->node, room->first + k) =
                (float)worth(f->token[f->seg[s].row + k], f->one_byte[f->seg[s].row + k]);
        }
    }
}

/* The nodes above a segment's first row spell the beginning of every sequence through it. */
static void check_cached(const gr_forest *f, size_t i, const gr_seq *seq)
{
    size_t s = 0, t;
    gr_kv_at at;

    while (!(f->seg[s].row <= f->leaf_row[i] && f->leaf_row[i] < f->seg[s].row + f->seg[s].len - f->seg[s].cached))
        s++;
    at = f->seg[s].at;
    t = gr_kv_pos(at);
    for (; at.node; at = gr_kv_before(at.node))
        while (at.used-- > 0) {
            t--;
            assert_int_equal((int)*key(f->cache, at.node, at.used), t);
            assert_int_equal((int)*value(f->cache, at.node, at.used), worth(seq->token[t], gr_seq_one_byte(seq, t)));
        }
    assert_int_equal(t, 0);
}

static void cache_hands_back_what_it_was_given(void **state)
{
    static const size_t limits[] = { 1 << 10, 1 << 13, 1 << 20 };   /* too small for most, for some, for none */
    unsigned seed = 7;

    (void)state;
    for (size_t l = 0; l < GR_COUNT(limits); l++) {
        gr_kv_tree *cache;
        size_t known = 0;
        CHECK_OK(gr_kv_open(&cache, check_device(1), 2, 1, GR_F32, limits[l], &check_err));
        for (int round = 0; round < 3000; round++) {
            gr_seq seq[MOST];
            size_t n = draw(seq, &seed);
            bool computed = round % 7 != 0;         /* now and then the forward pass fails */
            gr_forest f;
            CHECK_OK(gr_forest_init(&f, seq, n, 0, cache, round % 3 ? GR_SAVE_SHARED : GR_SAVE_ALL, &check_err));
            known += distinct(seq, n) - f.rows;
            for (size_t i = 0; i < n; i++) {
                check_path(&f, i, &seq[i]);
                check_cached(&f, i, &seq[i]);
            }
            if (computed)
                compute(&f, cache);
            gr_forest_clear(&f, computed);
            assert_true(gr_kv_bytes(cache) <= limits[l]);
        }
        assert_true(l == 0 || known > 0);
        gr_kv_close(cache);
    }
}

/* A trunk of 100 tokens, 0 1 2 ..., off which 10 branch after the first 40 and 10 after the first 70. */
static gr_kv_tree *branches(size_t limit)
{
    int32_t id[100];
    gr_kv_tree *t;
    gr_kv_room trunk, room;

    for (size_t i = 0; i < 100; i++)
        id[i] = (int32_t)i;
    CHECK_OK(gr_kv_open(&t, check_device(1), 1, 4, GR_F32, limit, &check_err));
    gr_kv_insert(t, (gr_kv_at){ NULL, 0 }, id, 100, false, &trunk);
    gr_kv_insert(t, (gr_kv_at){ trunk.node, 40 }, id, 10, false, &room);
    gr_kv_insert(t, (gr_kv_at){ trunk.node, 70 }, id, 10, false, &room);
    assert_non_null(room.node);
    return t;
}

/* How much is known of the branch after the first `n`. */
static size_t known_after(gr_kv_tree *t, size_t n)
{
    int32_t id[100];

    for (size_t i = 0; i < n + 10; i++)
        id[i] = (int32_t)(i < n ? i : i - n);
    return gr_kv_match(t, &(gr_kv_at){ NULL, 0 }, id, n + 10);
}

/* The end of the trunk was looked at longest ago, though the rest of it just was: it goes, and what branches stand on
 * stays. */
static void a_trunk_loses_the_end_that_nobody_stands_on(void **state)
{
    static const int32_t other[40] = { 7 };
    gr_kv_tree *t = branches(1 << 20);
    size_t page = gr_page_bytes(gr_kv_pages(t)), bytes = gr_kv_bytes(t);
    gr_kv_room room;

    (void)state;
    gr_kv_close(t);
    t = branches(bytes + page + page / 2);
    assert_int_equal(known_after(t, 70), 80);
    gr_kv_insert(t, (gr_kv_at){ NULL, 0 }, other, 40, false, &room);        /* two pages */
    assert_non_null(room.node);
    assert_int_equal(known_after(t, 70), 80);
    assert_int_equal(known_after(t, 40), 50);
    gr_kv_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_prefix_stands_once),
        cmocka_unit_test(cache_hands_back_what_it_was_given),
        cmocka_unit_test(a_trunk_loses_the_end_that_nobody_stands_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
