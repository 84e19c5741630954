/* route_ref.c - see route.h. A row has some hundred numbers here, and its experts have millions, so there is no other
 * build. */
#include <assert.h>
#include <math.h>
#include <string.h>
#include "op/route.h"

/* ---- The k largest, as GNU's C++ library finds them --------------------------------------------------
 *
 * `at` is a list of experts, p what they are ordered by, the larger first. The names are those of bits/stl_algo.h and
 * bits/stl_heap.h, whose steps these are: equal numbers end where its std::nth_element() and std::partial_sort() leave
 * them. */

static bool before(const float *p, int32_t a, int32_t b)
{
    return p[a] > p[b];
}

static void swap(int32_t *a, int32_t *b)
{
    int32_t c = *a;

    *a = *b;
    *b = c;
}

static void push_heap(const float *p, int32_t *at, size_t hole, size_t top, int32_t value)
{
    while (hole > top && before(p, at[(hole - 1) / 2], value)) {
        at[hole] = at[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    at[hole] = value;
}

static void adjust_heap(const float *p, int32_t *at, size_t hole, size_t n, int32_t value)
{
    size_t top = hole, child = hole;

    while (child < (n - 1) / 2) {
        child = 2 * (child + 1);
        if (before(p, at[child], at[child - 1]))
            child--;
        at[hole] = at[child];
        hole = child;
    }
    if (n % 2 == 0 && child == (n - 2) / 2) {
        child = 2 * (child + 1);
        at[hole] = at[child - 1];
        hole = child - 1;
    }
    push_heap(p, at, hole, top, value);
}

/* The k that come first, in any order. */
static void heap_select(const float *p, int32_t *at, size_t k, size_t n)
{
    for (size_t i = k / 2; k > 1 && i-- > 0; )
        adjust_heap(p, at, i, k, at[i]);
    for (size_t i = k; i < n; i++)
        if (before(p, at[i], at[0])) {
            int32_t value = at[i];
            at[i] = at[0];
            adjust_heap(p, at, 0, k, value);
        }
}

static void move_median_to_first(const float *p, int32_t *to, int32_t *a, int32_t *b, int32_t *c)
{
    int32_t *median = before(p, *a, *b) ? before(p, *b, *c) ? b : before(p, *a, *c) ? c : a
                                        : before(p, *a, *c) ? a : before(p, *b, *c) ? c : b;

    swap(to, median);
}

static int32_t *partition_pivot(const float *p, int32_t *first, int32_t *last)
{
    const int32_t *pivot = first;
    int32_t *end = last;

    move_median_to_first(p, first, first + 1, first + (last - first) / 2, last - 1);
    for (first++;; first++) {
        while (before(p, *first, *pivot))
            first++;
        for (end--; before(p, *pivot, *end); )
            end--;
        if (first >= end)
            return first;
        swap(first, end);
    }
}

static void insertion_sort(const float *p, int32_t *first, int32_t *last)
{
    for (int32_t *i = first; i < last; i++) {
        int32_t value = *i, *to = i;
        for (; to > first && before(p, value, to[-1]); to--)
            *to = to[-1];
        *to = value;
    }
}

/* So that the k-th stands in its place, and none behind it comes before it. */
static void nth_element(const float *p, int32_t *first, size_t k, size_t n)
{
    int32_t *nth = first + k - 1, *last = first + n;
    size_t depth = 0;

    for (size_t i = n; i > 1; i /= 2)
        depth += 2;
    while (last - first > 3) {
        int32_t *cut;
        if (depth-- == 0) {
            heap_select(p, first, (size_t)(nth - first) + 1, (size_t)(last - first));
            swap(first, nth);
            return;
        }
        cut = partition_pivot(p, first, last);
        if (cut <= nth)
            first = cut;
        else
            last = cut;
    }
    insertion_sort(p, first, last);
}

/* The k first of the n experts, in chosen, by their numbers; all[n] is room. */
static void choose(int32_t *chosen, int32_t *all, const float *p, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++)
        all[i] = (int32_t)i;
    if (64 * k <= n)
        heap_select(p, all, k, n);
    else
        nth_element(p, all, k, n);
    for (size_t i = 0; i < k; i++) {
        size_t to = i;
        for (; to > 0 && chosen[to - 1] > all[i]; to--)
            chosen[to] = chosen[to - 1];
        chosen[to] = all[i];
    }
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

static bool softmax(float *p, const float *z, size_t E)
{
    float top = z[0];
    double sum = 0;

    for (size_t e = 0; e < E; e++) {
        if (isnan(z[e]))
            return false;
        top = z[e] > top ? z[e] : top;
    }
    for (size_t e = 0; e < E; e++)
        sum += exp((double)z[e] - (double)top);
    for (size_t e = 0; e < E; e++)
        p[e] = (float)(exp((double)z[e] - (double)top) / sum);
    return !isnan(p[0]);                    /* an infinity among z */
}

static void route(float *p, int32_t *chosen, float *w, const float *z, size_t E, size_t k, bool norm)
{
    int32_t all[GR_ROUTE_MOST];
    double sum = 0;
    bool ok = softmax(p, z, E);

    if (ok)
        choose(chosen, all, p, E, k);
    for (size_t j = 0; j < k; j++) {
        chosen[j] = ok ? chosen[j] : (int32_t)j;
        w[j] = ok ? p[chosen[j]] : NAN;
        sum += (double)w[j];
    }
    for (size_t j = 0; j < k && norm; j++)
        w[j] = (float)((double)w[j] / sum);
}

void gr_route_fwd_ref(gr_lane *lane, gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N, size_t E, size_t k,
                      bool norm)
{
    (void)lane;
    assert(E <= GR_ROUTE_MOST && k <= E);
    for (size_t n = 0; n < N; n++)
        route(gr_f32(gr_mat_at(p, n, 0)), chosen + n * k, gr_f32(gr_mat_at(w, n, 0)), gr_f32(gr_mat_at(z, n, 0)), E, k,
              norm);
}

static void unroute(float *dz, const float *dw, const float *p, const int32_t *chosen, const float *w, size_t E,
                    size_t k, bool norm)
{
    double sum = 0, of_w = 0, of_p = 0;

    for (size_t j = 0; j < k; j++) {
        sum += (double)p[chosen[j]];
        of_w += (double)dw[j] * (double)w[j];
    }
    memset(dz, 0, E * sizeof *dz);
    for (size_t j = 0; j < k; j++) {
        dz[chosen[j]] = (float)(norm ? ((double)dw[j] - of_w) / sum : (double)dw[j]);
        of_p += (double)dz[chosen[j]] * (double)p[chosen[j]];
    }
    for (size_t e = 0; e < E; e++)
        dz[e] = (float)((double)p[e] * ((double)dz[e] - of_p));
}

void gr_route_bwd_ref(gr_lane *lane, gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen, gr_mat w, size_t N,
                      size_t E, size_t k, bool norm)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        unroute(gr_f32(gr_mat_at(dz, n, 0)), gr_f32(gr_mat_at(dw, n, 0)), gr_f32(gr_mat_at(p, n, 0)), chosen + n * k,
                gr_f32(gr_mat_at(w, n, 0)), E, k, norm);
}

static float dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

static void times(float *x, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= s;
}

void gr_weigh_ref(gr_lane *lane, gr_mat d, gr_mat dy, gr_mat dw, gr_mat act, gr_mat w, const size_t *at, size_t n,
                  size_t M, size_t F, size_t C)
{
    (void)lane;
    for (size_t i = 0; i < M; i++) {
        float by = i < n ? gr_f32(w)[at[i]] : 0, *row = gr_f32(gr_mat_at(d, i, 0));
        if (row && i < n)
            gr_f32(dw)[at[i]] = dot(row, gr_f32(gr_mat_at(act, i, 0)), F);
        if (row)
            times(row, by, F);
        times(gr_f32(gr_mat_at(dy, i, 0)), by, C);
    }
}

void gr_blend_ref(gr_lane *lane, gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N, size_t k, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++) {
        float *to = gr_f32(gr_mat_at(y, n, 0));
        memmove(to, gr_f32(gr_mat_at(x, n, 0)), C * sizeof *to);
        for (size_t j = 0; j < k; j++) {
            const float *from = gr_f32(gr_mat_at(v, n * k + j, 0));
            float by = gr_f32(gr_mat_at(w, n, 0))[j];
            for (size_t c = 0; c < C; c++)
                to[c] += by * from[c];
        }
    }
}
