/* rope_freq.c - see config_int.h. Each step is rounded to float32 where transformers' tensors round it; powf() may
 * differ from PyTorch's in the last bit. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "file/config_int.h"

static const double pi = 3.14159265358979323846;

static float plain(double theta, size_t i, size_t rope_dim)
{
    return 1 / powf((float)theta, (float)(2 * i) / (float)rope_dim);
}

static float llama3(float f, const gr_rope *r)
{
    float wave = (float)(2 * pi) / f;
    float smooth = ((float)r->original / wave - (float)r->low) / (float)(r->high - r->low);

    if (wave < (float)(r->original / r->high))
        return f;
    if (wave > (float)(r->original / r->low))
        return f / (float)r->factor;
    return (1 - smooth) * f / (float)r->factor + smooth * f;
}

/* The channel that turns `turns` times in the original context. */
static double yarn_channel(const gr_rope *r, double turns, size_t rope_dim)
{
    return (double)rope_dim * log(r->original / (turns * 2 * pi)) / (2 * log(r->theta));
}

static float yarn(const gr_rope *r, size_t i, size_t rope_dim)
{
    double low = yarn_channel(r, r->high, rope_dim), high = yarn_channel(r, r->low, rope_dim);
    float power = powf((float)r->theta, (float)(2 * i) / (float)rope_dim), ramp, keep;

    low = fmax(r->truncate ? floor(low) : low, 0);
    high = fmin(r->truncate ? ceil(high) : high, (double)rope_dim - 1);
    if (low >= high && low <= high)
        high += 0.001;
    ramp = ((float)i - (float)low) / (float)(high - low);
    keep = 1 - fminf(fmaxf(ramp, 0), 1);
    return 1 / ((float)r->factor * power) * (1 - keep) + 1 / power * keep;
}

gram_status gr_rope_freq(float **out, const gr_rope *r, size_t rope_dim, gram_err *err)
{
    float *f = gr_calloc(rope_dim / 2, sizeof *f);

    *out = f;
    if (!f)
        return gr_nomem(err, "rope frequencies");
    for (size_t i = 0; i < rope_dim / 2; i++) {
        f[i] = plain(r->theta, i, rope_dim);
        if (r->kind == GR_ROPE_LINEAR)
            f[i] /= (float)r->factor;
        else if (r->kind == GR_ROPE_LLAMA3)
            f[i] = llama3(f[i], r);
        else if (r->kind == GR_ROPE_YARN)
            f[i] = yarn(r, i, rope_dim);
    }
    return GRAM_OK;
}

/* 1 / (factor power), in the order in which transformers rounds. */
static float *divided(const float *power, const float *factor, size_t n)
{
    float *f = gr_calloc(n, sizeof *f);

    for (size_t i = 0; f && i < n; i++)
        f[i] = 1 / (factor[i] * power[i]);
    return f;
}

gram_status gr_rope_far(gr_config *c, gram_err *err)
{
    size_t n = c->rope_dim / 2;
    float *power = gr_calloc(n, sizeof *power);

    for (size_t i = 0; power && i < n; i++)
        power[i] = powf((float)c->rope[0].theta, (float)(2 * i) / (float)c->rope_dim);
    if (power) {
        c->inv_freq[0] = divided(power, c->far.shorts, n);
        c->inv_freq[1] = divided(power, c->far.shorts, n);
        c->far.freq = divided(power, c->far.longs, n);
    }
    free(power);
    c->far.after = (size_t)c->rope[0].original;
    return c->inv_freq[0] && c->inv_freq[1] && c->far.freq ? GRAM_OK : gr_nomem(err, "rope frequencies");
}

double gr_rope_attention(double s, double original)
{
    return s > 1 ? sqrt(1 + log(s) / log(original)) : 1;
}

double gr_rope_mscale(double factor, double m)
{
    return factor > 1 ? 0.1 * m * log(factor) + 1 : 1;
}

double gr_rope_factor(const gr_rope *r, size_t i, size_t rope_dim)
{
    double wave = 2 * pi / (double)plain(r->theta, i, rope_dim), smooth;

    if (r->kind != GR_ROPE_LLAMA3)
        return r->kind == GR_ROPE_LINEAR ? r->factor : 1;
    if (wave < r->original / r->high)
        return 1;
    if (wave > r->original / r->low)
        return r->factor;
    smooth = (r->original / wave - r->low) / (r->high - r->low);
    return 1 / ((1 - smooth) / r->factor + smooth);
}

/* ---- From the factors to the numbers that they were computed from --------------------------------- */

/* A few units in the last place of a float32 that was divided twice. */
static bool fits(const gr_rope *r, const float *factor, size_t rope_dim)
{
    for (size_t i = 0; i < rope_dim / 2; i++)
        if (!(fabs(gr_rope_factor(r, i, rope_dim) / (double)factor[i] - 1) < 1e-5))
            return false;
    return true;
}

/* What the factors show: the longest wave left alone, the shortest that is divided by all of it, and how far the first
 * and the last between them are blended. */
struct bend { double alone, whole, wave[2], smooth[2]; size_t blended; };

static struct bend look(const gr_rope *r, const float *factor, size_t rope_dim)
{
    struct bend b = { 0, INFINITY, { 0 }, { 0 }, 0 };

    for (size_t i = 0; i < rope_dim / 2; i++) {
        double wave = 2 * pi / (double)plain(r->theta, i, rope_dim), f = (double)factor[i];
        if (f < 1 + 1e-6) {
            b.alone = fmax(b.alone, wave);
        } else if (f > r->factor * (1 - 1e-6)) {
            b.whole = fmin(b.whole, wave);
        } else {
            size_t k = b.blended++ > 0;
            b.wave[k] = wave;
            b.smooth[k] = (1 / f - 1 / r->factor) / (1 - 1 / r->factor);
        }
    }
    return b;
}

/* A scaling with this `high` that gives one of the blended waves its factor, or where none is blended, one whose bend
 * lies where they leave room for it. */
static gr_rope with_high(const gr_rope *r, const struct bend *b, double high)
{
    gr_rope t = *r;

    t.high = b->blended || b->alone <= 0 ? high : fmin(high, sqrt(b->whole / b->alone));
    t.original = b->blended       ? rint((1 + b->smooth[0] * (high - 1)) * b->wave[0])
                 : b->alone > 0   ? sqrt(t.high * b->alone * b->whole) : b->whole / 2;
    return t;
}

/* low, high and original may all be multiplied by the same number: low is 1. With w the wave, the blend is
 * (original/w - 1) / (high - 1): two of them give both numbers; with fewer, high is 4 as in every Llama, or another
 * that fits. */
bool gr_rope_recognise(gr_rope *r, const float *factor, size_t rope_dim, double original)
{
    static const double high[] = { 4, 8, 2, 3, 6, 16 };
    gr_rope try = { .kind = GR_ROPE_LLAMA3, .theta = r->theta, .factor = 1, .low = 1, .high = 4,
                    .original = original > 0 ? original : 8192 };
    struct bend b = { 0 };
    bool found;

    for (size_t i = 0; i < rope_dim / 2; i++)
        try.factor = fmax(try.factor, (double)factor[i]);
    if (try.factor <= 1)
        return fits(r, factor, rope_dim);
    found = fits(&try, factor, rope_dim);
    if (!found)
        b = look(&try, factor, rope_dim);
    if (!found && b.blended > 1) {
        double slope = (b.smooth[0] - b.smooth[1]) / (1 / b.wave[0] - 1 / b.wave[1]);
        double below = slope / b.wave[0] - b.smooth[0];
        try.high = rint(100 * (1 + 1 / below)) / 100;
        try.original = rint(slope * (try.high - 1));
        found = try.high > 1 && try.original > 0 && fits(&try, factor, rope_dim);
    }
    for (size_t i = 0; i < GR_COUNT(high) && !found; i++) {
        try = with_high(&try, &b, high[i]);
        found = fits(&try, factor, rope_dim);
    }
    if (found)
        *r = try;
    return found;
}
