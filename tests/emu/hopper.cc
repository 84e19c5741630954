/* hopper.cc - see emu90.h: barriers in shared memory that count arrivals and bytes, the copy engine, and the products
 * of four warps. */
#include "emu/emu_int.h"

#define g emu_now

/* A barrier's eight bytes: how many arrive in a phase, how many are still to come, bytes still to come, the phase. */
struct bar { uint16_t of, left; uint32_t bytes : 31, phase : 1; };
static_assert(sizeof(bar) == 8, "as the hardware's");

static void ended(bar *b)
{
    if (b->left || b->bytes)
        return;
    b->phase ^= 1;
    b->left = b->of;
    for (unsigned i = 0; i < g.threads; i++)
        if (g.t[i].state == EMU_AT_BAR && g.t[i].on == b)
            g.t[i].state = EMU_READY;
}

static void copy_box(const emu_box *c)
{
    bar *b = (bar *)c->bar;

    for (int r = 0; r < c->map.box_rows; r++)
        for (int p = 0; p < 8; p++) {
            g.written[(size_t)(c->to - g.shared + r * 128) / 16 + (size_t)p].by = 0;
            for (int i = 0; i < 8; i++) {
                int row = c->y + r, col = c->x + p * 8 + i;
                bool in = row < c->map.rows && col < c->map.cols;
                ((uint16_t *)(c->to + r * 128 + ((p ^ (r & 7)) * 16)))[i] =
                    in ? c->map.p[(size_t)row * (size_t)c->map.ld + (size_t)col] : 0;
            }
        }
    if (b->bytes < (unsigned)c->map.box_rows * 128)
        emu_fail("a copy brings more than its barrier expects", 0);
    b->bytes -= (unsigned)c->map.box_rows * 128;
    ended(b);
}

void emu_bar_init(uint64_t *p, int n)
{
    bar b = { (uint16_t)n, (uint16_t)n, 0, 0 };
    memcpy(p, &b, sizeof b);
}

void emu_bar_arrive(uint64_t *p, int bytes, int line)
{
    bar *b = (bar *)p;

    before(p);
    if (!b->left)
        emu_fail("a barrier gets more arrivals than it counts", line);
    b->left--;
    b->bytes += (unsigned)bytes;
    ended(b);
}

static void let_come(uint64_t *p, int parity)
{
    bar *b = (bar *)p;

    hide();
    for (size_t i = 0; i < g.box.size() && b->phase == (unsigned)parity; )
        if (g.box[i].bar == p) {
            emu_box c = g.box[i];
            g.box.erase(g.box.begin() + (long)i);
            copy_box(&c);
        } else
            i++;
    show();
}

void emu_bar_wait(uint64_t *p, int parity, int line)
{
    bar *b = (bar *)p;

    let_come(p, parity);
    while (b->phase == (unsigned)parity) {
        emu_me->on = b;
        emu_wait_for(EMU_AT_BAR, 0, line);
        let_come(p, parity);
    }
    after(p);
}

void emu_tma(void *to, const CUtensorMap *map, int x, int y, uint64_t *b, int line)
{
    emu_box c = { (unsigned char *)to, *map, x, y, b };

    if ((uintptr_t)to % 1024)
        emu_fail("a swizzled tile does not begin at a multiple of 1024", line);
    hide();
    if (emu_opt.lazy)
        g.box.push_back(c);
    else
        copy_box(&c);
    show();
    for (unsigned i = 0; i < g.threads; i++)            /* whoever waits for it already lets it come */
        if (g.t[i].state == EMU_AT_BAR && g.t[i].on == b)
            g.t[i].state = EMU_READY;
}

/* ---- Products of four warps ------------------------------------------------------------------------ */

void emu_wrote(const void *dst)
{
    size_t at = (size_t)((const unsigned char *)dst - g.shared);

    if (at < g.shared_bytes)
        g.written[at / 16] = emu_written{ emu_me->at + 1, g.fences[emu_me->at].n };
}

void emu_proxy_fence(void)
{
    g.fences[emu_me->at].n++;
    g.fences[emu_me->at].at = g.barriers;
}

/* cp.async, its wait, a fence of the proxy by the thread that it is of, a barrier, wgmma: in this order. */
static void check_seen(const emu_written *w, const emu_product *p)
{
    if (!w->by)
        return;
    if (g.fences[w->by - 1].n == w->fences)
        emu_fail("a product reads what cp.async wrote, without a fence of the proxy after the wait", p->line);
    if (g.fences[w->by - 1].n == w->fences + 1 && g.fences[w->by - 1].at == g.barriers)
        emu_fail("a product reads what another thread's cp.async wrote, without a barrier after its fence", p->line);
}

static float shared_bf(uint32_t at, const emu_product *p)
{
    at ^= (at >> 7 & 7) << 4;
    if (at + 2 > g.shared_bytes)
        emu_fail("a product reads past the end of shared memory", p->line);
    check_seen(&g.written[at / 16], p);
    return emu_bf(*(const uint16_t *)(g.shared + at));
}

enum { EMU_SLAB = 64 };                         /* columns of a swizzled tile */

static void multiply(const emu_product *p)
{
    static float A[16][64], B[16][256], C[64][256];
    uint32_t a = (uint32_t)(p->a & 0x3fff) << 4, b = (uint32_t)(p->b & 0x3fff) << 4;
    uint32_t astep = (uint32_t)(p->a >> 32 & 0x3fff) << 4, bstep = (uint32_t)(p->b >> 32 & 0x3fff) << 4;
    uint32_t bslab = (uint32_t)(p->b >> 16 & 0x3fff) << 4, N = (uint32_t)p->n;

    emu_count.wgmma++;
    for (uint32_t k = 0; k < 16; k++) {
        for (uint32_t m = 0; m < 64 && !p->in[0]; m++)
            A[k][m] = shared_bf(a + m / 8 * astep + m % 8 * 128 + k * 2, p);
        for (uint32_t n = 0; n < N; n++)
            B[k][n] = shared_bf(p->in[0] ? b + n / EMU_SLAB * bslab + k / 8 * bstep + k % 8 * 128 + n % EMU_SLAB * 2 :
                                b + n / 8 * bstep + n % 8 * 128 + k * 2, p);
    }
    for (int t = 0; t < EMU_FOUR && p->in[0]; t++)
        for (int i = 0; i < 8; i++)
            A[t % 4 * 2 + i % 2 + i / 4 * 8][t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8] =
                emu_bf((uint16_t)(p->in[t][i / 2] >> i % 2 * 16));
    memset(C, 0, sizeof C);
    for (int k = 0; k < 16; k++)
        for (int m = 0; m < 64; m++)
            for (uint32_t n = 0; n < N; n += EMU_SLAB)
                for (uint32_t i = 0; i < EMU_SLAB; i++)
                    C[m][n + i] += A[k][m] * B[k][n + i];
    for (int t = 0; t < EMU_FOUR; t++)
        for (int i = 0; i < (int)N / 2; i++) {
            float x = C[t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + t % 4 * 2 + i % 2];
            p->d[t][i] = p->add ? p->d[t][i] + x : x;
        }
}

static void check(const emu_product *p)
{
    if (p->commit)
        return;
    if (p->b >> 62 != 1 || (!p->in[0] && p->a >> 62 != 1))
        emu_fail("a tile that is not swizzled by 128 bytes", p->line);
    if (p->n % EMU_SLAB || p->n > 256)
        emu_fail("a product of a width that the emulator does not know", p->line);
    if (!g.four[emu_me->at / EMU_FOUR].fenced)
        emu_fail("a product of four warps without a fence between it and what used its registers", p->line);
}

static void begin(void *const *slot)
{
    emu_product p = *(const emu_product *)slot[0];
    auto *four = &g.four[emu_me->at / EMU_FOUR];

    hide();
    for (int i = 0; i < EMU_FOUR; i++) {
        const emu_product *t = (const emu_product *)slot[i];
        if (t->a != p.a || t->b != p.b || t->add != p.add || t->n != p.n)
            emu_fail("threads of a warpgroup say different things", p.line);
        p.d[i] = t->d[0];
        p.in[i] = t->in[0];
    }
    check(&p);
    if (p.commit)
        four->fenced = false;
    if (emu_opt.lazy)
        g.product[emu_me->at / EMU_FOUR].push_back(p);
    else if (!p.commit)
        multiply(&p);
    show();
}

static void fence(void *const *)
{
    g.four[emu_me->at / EMU_FOUR].fenced = true;
}

/* Of the products up to the next commit. */
void emu_wgmma_fence(int line)
{
    emu_meet4(line, NULL, fence);
}

void emu_wgmma(int n, float *d, const uint32_t *a, uint64_t at_a, uint64_t at_b, int add, int line)
{
    emu_product p = {};

    p.d[0] = d;
    p.in[0] = a;
    p.a = at_a;
    p.b = at_b;
    p.n = n;
    p.add = add;
    p.line = line;
    p.commit = !d;
    emu_meet4(line, &p, begin);
}

static void finish(void *const *slot)
{
    auto &q = g.product[emu_me->at / EMU_FOUR];
    int groups = 0;

    hide();
    for (auto &p : q)
        groups += p.commit;
    for (; groups > *(const int *)slot[0]; q.pop_front())
        if (q.front().commit)
            groups--;
        else
            multiply(&q.front());
    show();
}

void emu_wgmma_wait(int may_run, int line)
{
    emu_meet4(line, &may_run, finish);
}
