/* test_unpack.c - weights packed as whole numbers: each value as its format defines it, and what does not fit by name.
 * That the definitions are those of who made the formats is tests/model/test_golden_models.c's to say. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "file/file_int.h"

enum { IN = 16, OUT = 16, GROUP = 4, GROUPS = IN / GROUP, MOST = 6 };

static size_t threads = 1;

/* A tensor on its way into a file. */
struct tensor { const char *name, *type; size_t dim[3], n_dims; uint8_t data[1024]; };

static size_t bytes_of(const struct tensor *t)
{
    size_t n = !strcmp(t->type, "I8") || !strcmp(t->type, "U8") ? 1 : !strcmp(t->type, "I64") ? 8 :
               !strcmp(t->type, "I32") || !strcmp(t->type, "F32") ? 4 : 2;

    for (size_t i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    assert_true(n <= sizeof t->data);
    return n;
}

/* Opens a directory of such tensors; one without a type is left out. */
static gram_status open_tensors(gr_weights **out, const char *config, const struct tensor *t, size_t n)
{
    char *dir = check_tmpdir(), *path = gr_path_join(dir, "config.json");
    gr_buf text = { 0 }, all = { 0 };
    size_t at = 0;
    uint64_t head;
    gram_status rc;

    CHECK_OK(gr_write_file(path, config, strlen(config), &check_err));
    free(path);
    for (size_t i = 0; i < n; i++) {
        if (!t[i].type)
            continue;
        gr_buf_printf(&text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", text.n ? "," : "{", t[i].name, t[i].type);
        for (size_t k = 0; k < t[i].n_dims; k++)
            gr_buf_printf(&text, "%s%zu", k ? "," : "", t[i].dim[k]);
        gr_buf_printf(&text, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes_of(&t[i]));
        at += bytes_of(&t[i]);
    }
    gr_buf_puts(&text, "}");
    head = text.n;
    gr_buf_add(&all, &head, sizeof head);
    gr_buf_add(&all, text.p, text.n);
    for (size_t i = 0; i < n; i++)
        if (t[i].type)
            gr_buf_add(&all, t[i].data, bytes_of(&t[i]));
    path = gr_path_join(dir, "model.safetensors");
    CHECK_OK(gr_write_file(path, all.p, all.n, &check_err));
    rc = gr_weights_open_dir_by(out, dir, threads, &check_err);
    free(path);
    gr_buf_clear(&text);
    gr_buf_clear(&all);
    return rc;
}

static unsigned code(size_t out, size_t k, unsigned bits)
{
    return (unsigned)(37 * k + 51 * out + k * out) % (1u << bits);
}

static unsigned zero(size_t out, size_t g, unsigned bits) { return (unsigned)(7 * g + 3 * out) % (1u << bits); }
static double scale(size_t out, size_t g) { return (1 + (double)((out + g) % 3)) / 8; }
static size_t group_of(size_t k) { return k * 5 % IN / GROUP; }        /* each GROUP times */

static void put_number(uint8_t *words, size_t word, size_t place, unsigned bits, unsigned x)
{
    uint32_t w;

    memcpy(&w, words + 4 * word, sizeof w);
    w |= (uint32_t)x << bits * place;
    memcpy(words + 4 * word, &w, sizeof w);
}

static void put_scale(struct tensor *t, size_t i, double x)
{
    float f = (float)x;

    assert_true(gr_quantize(t->data + 2 * i, GR_F16, &f, 1));
}

/* ---- GPTQ ------------------------------------------------------------------------------------------- */

#define GPTQ(more) "{\"quantization_config\":{\"quant_method\":\"gptq\",\"group_size\":4," more "}}"

static void make_gptq(struct tensor t[4], unsigned bits, bool less_one)
{
    size_t f = 32 / bits;
    struct tensor made[4] = {
        { "a.qweight", "I32", { IN / f, OUT }, 2, { 0 } }, { "a.qzeros", "I32", { GROUPS, OUT / f }, 2, { 0 } },
        { "a.scales", "F16", { GROUPS, OUT }, 2, { 0 } }, { "a.g_idx", "I32", { IN }, 1, { 0 } },
    };

    for (size_t o = 0; o < OUT; o++) {
        for (size_t k = 0; k < IN; k++)
            put_number(made[0].data, k / f * OUT + o, k % f, bits, code(o, k, bits));
        for (size_t g = 0; g < GROUPS; g++) {
            put_number(made[1].data, g * (OUT / f) + o / f, o % f, bits, zero(o, g, bits));
            put_scale(&made[2], g * OUT + o, scale(o, g));
        }
    }
    for (size_t i = 0; less_one && i < GROUPS * (OUT / f); i++) {      /* as gptqmodel does: with what is borrowed */
        uint32_t w;
        memcpy(&w, made[1].data + 4 * i, sizeof w);
        w -= bits == 4 ? 0x11111111u : 0x01010101u;
        memcpy(made[1].data + 4 * i, &w, sizeof w);
    }
    for (size_t k = 0; k < IN; k++)
        memcpy(made[3].data + 4 * k, &(int32_t){ (int32_t)group_of(k) }, 4);
    memcpy(t, made, sizeof made);
}

/* listed: groups are. middle: zeros are the middle of the range. one: the scale of the first output and group is
 * everybody's. */
static void check_values(const gr_weights *w, unsigned bits, bool listed, bool middle, bool one)
{
    const gr_named *t = gr_weights_find(w, "a.weight");

    assert_non_null(t);
    assert_int_equal(gr_weights_count(w), 1);
    assert_int_equal(t->type, GR_F16);
    assert_true(t->n_dims == 2 && t->dim[0] == OUT && t->dim[1] == IN && t->bytes == 2 * IN * OUT);
    for (size_t o = 0; o < OUT; o++)
        for (size_t k = 0; k < IN; k++) {
            size_t g = listed ? group_of(k) : k / GROUP;
            double from = middle ? (double)(1u << (bits - 1)) : (double)zero(o, g, bits);
            double want = ((double)code(o, k, bits) - from) * (one ? scale(0, 0) : scale(o, g));
            double got = (double)gr_named_value(t, o * IN + k);
            if (got < want || got > want)
                fail_msg("output %zu, input %zu: %g, wanted %g", o, k, got, want);
        }
}

static void check_weight(const gr_weights *w, unsigned bits, bool listed)
{
    check_values(w, bits, listed, false, false);
}

static void gptq_is_read(void **state)
{
    static const struct { const char *config; unsigned bits; bool less_one, listed; } way[] = {
        { GPTQ("\"bits\":4,\"desc_act\":true"), 4, true, true },
        { GPTQ("\"bits\":8,\"desc_act\":true,\"checkpoint_format\":\"gptq\""), 8, true, true },
        { GPTQ("\"bits\":4,\"desc_act\":true,\"checkpoint_format\":\"gptq_v2\""), 4, false, true },
        { GPTQ("\"bits\":8,\"format\":\"gptq_v2\",\"dynamic\":{},\"lm_head\":true"), 8, false, false },
        { GPTQ("\"bits\":4,\"desc_act\":false"), 4, true, false },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(way); i++) {
        struct tensor t[4];
        gr_weights *w;
        make_gptq(t, way[i].bits, way[i].less_one);
        CHECK_OK(open_tensors(&w, way[i].config, t, way[i].listed ? 4 : 3));
        check_weight(w, way[i].bits, way[i].listed);
        gr_weights_close(w);
    }
}

/* ---- AWQ -------------------------------------------------------------------------------------------- */

#define AWQ(more) "{\"quantization_config\":{\"quant_method\":\"awq\",\"group_size\":4," more "}}"

static void make_awq(struct tensor t[3])
{
    static const size_t holds[] = { 0, 2, 4, 6, 1, 3, 5, 7 };       /* which output each place of a word has */
    struct tensor made[3] = {
        { "a.qweight", "I32", { IN, OUT / 8 }, 2, { 0 } }, { "a.qzeros", "I32", { GROUPS, OUT / 8 }, 2, { 0 } },
        { "a.scales", "F16", { GROUPS, OUT }, 2, { 0 } },
    };

    for (size_t i = 0; i < OUT; i++) {
        size_t o = i / 8 * 8 + holds[i % 8];
        for (size_t k = 0; k < IN; k++)
            put_number(made[0].data, k * (OUT / 8) + i / 8, i % 8, 4, code(o, k, 4));
        for (size_t g = 0; g < GROUPS; g++) {
            put_number(made[1].data, g * (OUT / 8) + i / 8, i % 8, 4, zero(o, g, 4));
            put_scale(&made[2], g * OUT + o, scale(o, g));
        }
    }
    memcpy(t, made, sizeof made);
}

static void awq_is_read(void **state)
{
    static const char *const config[] = { AWQ("\"bits\":4,\"version\":\"gemm\",\"zero_point\":true"),
                                          AWQ("\"bits\":4,\"format\":\"gemm\",\"modules_to_not_convert\":[\"x\"]") };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(config); i++) {
        struct tensor t[3];
        gr_weights *w;
        make_awq(t);
        CHECK_OK(open_tensors(&w, config[i], t, 3));
        check_weight(w, 4, false);
        gr_weights_close(w);
    }
}

/* ---- compressed-tensors --------------------------------------------------------------------------- */

#define CT(more) "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{" \
    "\"targets\":[\"Linear\"],\"weights\":{\"type\":\"int\"," more "}}}}}"
#define CT2(one, other) "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{" \
    "\"targets\":[\"re:.*q_proj\"],\"weights\":{\"type\":\"int\"," one "}},\"h\":{\"targets\":[\"Linear\"]," \
    "\"weights\":{\"type\":\"int\"," other "}}}}}"
#define BY_GROUP "\"strategy\":\"group\",\"group_size\":4"

static void make_words(struct tensor t[5], unsigned bits)
{
    size_t f = 32 / bits;
    struct tensor made[5] = {
        { "a.weight_packed", "I32", { OUT, IN / f }, 2, { 0 } }, { "a.weight_scale", "F16", { OUT, GROUPS }, 2, { 0 } },
        { "a.weight_shape", "I64", { 2 }, 1, { OUT, [8] = IN } },
        { "a.weight_zero_point", "I32", { OUT / f, GROUPS }, 2, { 0 } }, { "a.weight_g_idx", "I32", { IN }, 1, { 0 } },
    };

    for (size_t o = 0; o < OUT; o++) {
        for (size_t k = 0; k < IN; k++)
            put_number(made[0].data, o * (IN / f) + k / f, k % f, bits, code(o, k, bits));
        for (size_t g = 0; g < GROUPS; g++) {
            put_scale(&made[1], o * GROUPS + g, scale(o, g));
            put_number(made[3].data, o / f * GROUPS + g, o % f, bits, zero(o, g, bits));
        }
    }
    for (size_t k = 0; k < IN; k++)
        memcpy(made[4].data + 4 * k, &(int32_t){ (int32_t)group_of(k) }, 4);
    memcpy(t, made, sizeof made);
}

static void words_are_read(void **state)
{
    static const struct { const char *config; unsigned bits; bool zeros, listed; } way[] = {
        { CT("\"num_bits\":4,\"symmetric\":true," BY_GROUP), 4, false, false },
        { CT("\"num_bits\":8,\"symmetric\":true,\"group_size\":4"), 8, false, false },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP ",\"actorder\":\"static\""), 4, true, false },
        { CT("\"num_bits\":8,\"symmetric\":false," BY_GROUP ",\"actorder\":null"), 8, true, false },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP ",\"actorder\":\"group\""), 4, true, true },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(way); i++) {
        struct tensor t[5];
        gr_weights *w;
        make_words(t, way[i].bits);
        t[3].type = way[i].zeros ? t[3].type : NULL;
        t[4].type = way[i].listed ? t[4].type : NULL;
        CHECK_OK(open_tensors(&w, way[i].config, t, 5));
        check_values(w, way[i].bits, way[i].listed, !way[i].zeros, false);
        gr_weights_close(w);
    }
}

/* Each is packed in the way that its tensors fit, whichever is said first. */
static void ways_are_told_apart(void **state)
{
    static const char *const config[] = {
        CT2("\"num_bits\":4,\"symmetric\":false," BY_GROUP, "\"num_bits\":8,\"symmetric\":true," BY_GROUP),
        CT2("\"num_bits\":8,\"symmetric\":true," BY_GROUP, "\"num_bits\":4,\"symmetric\":false," BY_GROUP),
        CT2("\"num_bits\":8,\"symmetric\":true," BY_GROUP, "\"num_bits\":4,\"symmetric\":true," BY_GROUP),
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(config); i++)
        for (unsigned bits = 4; bits <= 8; bits += 4) {
            bool zeros = bits == 4 && i < 2;
            struct tensor t[5];
            gr_weights *w;
            make_words(t, bits);
            t[3].type = zeros ? t[3].type : NULL;
            t[4].type = NULL;
            CHECK_OK(open_tensors(&w, config[i], t, 5));
            check_values(w, bits, false, !zeros, false);
            gr_weights_close(w);
        }
}

/* A list that begins with -1 is none. */
static void no_list_is_read(void **state)
{
    struct tensor t[5];
    gr_weights *w;

    (void)state;
    make_words(t, 4);
    memset(t[4].data, 255, 4 * IN);
    CHECK_OK(open_tensors(&w, CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), t, 5));
    check_values(w, 4, false, false, false);
    gr_weights_close(w);
}

static void make_bytes(struct tensor t[3])
{
    struct tensor made[3] = {
        { "a.weight", "I8", { OUT, IN }, 2, { 0 } }, { "a.weight_scale", "F16", { OUT, GROUPS }, 2, { 0 } },
        { "a.weight_zero_point", "I8", { OUT, GROUPS }, 2, { 0 } },
    };

    for (size_t o = 0; o < OUT; o++) {
        for (size_t k = 0; k < IN; k++)
            made[0].data[o * IN + k] = (uint8_t)(code(o, k, 8) ^ 128);
        for (size_t g = 0; g < GROUPS; g++) {
            put_scale(&made[1], o * GROUPS + g, scale(o, g));
            made[2].data[o * GROUPS + g] = (uint8_t)(zero(o, g, 8) ^ 128);
        }
    }
    memcpy(t, made, sizeof made);
}

static void bytes_are_read(void **state)
{
    struct tensor t[5];
    gr_weights *w;

    (void)state;
    make_bytes(t);
    CHECK_OK(open_tensors(&w, CT("\"num_bits\":8,\"symmetric\":true," BY_GROUP), t, 2));
    check_values(w, 8, false, true, false);
    gr_weights_close(w);
    CHECK_OK(open_tensors(&w, CT("\"num_bits\":8,\"symmetric\":false," BY_GROUP), t, 3));
    check_values(w, 8, false, false, false);
    gr_weights_close(w);
    make_words(t, 8);                           /* whose list is the last */
    make_bytes(t);
    t[3] = t[4];
    CHECK_OK(open_tensors(&w, CT("\"num_bits\":8,\"symmetric\":false,\"actorder\":\"group\"," BY_GROUP), t, 4));
    check_values(w, 8, true, false, false);
    gr_weights_close(w);
    t[1].n_dims = 1, t[1].dim[0] = 1;
    CHECK_OK(open_tensors(&w, CT("\"num_bits\":8,\"symmetric\":true,\"strategy\":\"tensor\""), t, 2));
    check_values(w, 8, false, true, true);
    gr_weights_close(w);
}

static void refused(const char *config, const struct tensor *t, size_t n, const char *why)
{
    gr_weights *w;
    gram_status rc = open_tensors(&w, config, t, n);

    if (!rc || !strstr(check_err.text, why))
        fail_msg("%s: status %d, \"%s\", wanted \"%s\"", config, (int)rc, rc ? check_err.text : "", why);
}

static void gptq_configs_are_refused_by_name(void **state)
{
    static const struct { const char *config, *why; } bad[] = {
        { "{}", "tensor \"a.qweight\" is packed as whole numbers, and config.json has no \"quantization_config\"" },
        { "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "tensor \"a.qweight\" is packed as whole numbers" },
        { "{\"quantization_config\":{\"quant_method\":\"aqlm\"}}", "weights packed by \"aqlm\"" },
        { GPTQ("\"desc_act\":true"), "wanted \"bits\" 4 or 8, found 0" },
        { GPTQ("\"bits\":3"), "wanted \"bits\" 4 or 8, found 3" },
        { GPTQ("\"bits\":\"4\""), "wanted \"bits\" 4 or 8, found 0" },
        { GPTQ("\"bits\":4,\"dynamic\":{\"-:down\":{}}"), "\"dynamic\" (its value)" },
        { GPTQ("\"bits\":4,\"rotation\":\"hadamard\""), "\"rotation\" hadamard" },
        { GPTQ("\"bits\":4,\"checkpoint_format\":\"marlin\""), "\"checkpoint_format\" marlin" },
        { GPTQ("\"bits\":4,\"checkpoint_format\":\"gptq\",\"format\":\"gptq_v2\""), "\"format\" gptq_v2" },
        { GPTQ("\"bits\":4,\"pack_dtype\":\"int64\""), "\"pack_dtype\" int64" },
        { "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2}}", "\"group_size\"" },
        { "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":8}}",
          "tensor \"a.scales\": wanted F16, BF16 or F32 [2, 16], found F16 [4, 16]" },
        { "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-1}}",
          "tensor \"a.scales\": wanted F16, BF16 or F32 [1, 16], found F16 [4, 16]" },
        { GPTQ("\"bits\":8"), "tensor \"a.scales\": wanted F16, BF16 or F32 [2, 16], found F16 [4, 16]" },
    };
    struct tensor t[4];

    (void)state;
    make_gptq(t, 4, true);
    for (size_t i = 0; i < GR_COUNT(bad); i++)
        refused(bad[i].config, t, 4, bad[i].why);
}

static void gptq_tensors_are_refused_by_name(void **state)
{
    static const char config[] = GPTQ("\"bits\":4,\"desc_act\":true");
    static const struct { size_t which; struct tensor as; const char *why; } bad[] = {
        { 0, { "a.qweight", "I64", { 2, OUT }, 2, { 0 } }, "tensor \"a.qweight\" is I64" },
        { 0, { "a.qweight", "I32", { IN }, 1, { 0 } }, "wanted I32 [inputs / 8, outputs], found I32 [16]" },
        { 0, { "a.qweight", "I32", { 0, OUT }, 2, { 0 } }, "found I32 [0, 16]" },
        { 0, { "a.qweight", "I32", { (size_t)1 << 61, 0 }, 2, { 0 } }, "\"a.qweight\": wanted I32" },
        { 1, { "a.qzeros", "I32", { GROUPS, 3 }, 2, { 0 } }, "\"a.qzeros\": wanted I32 [4, 2], found I32 [4, 3]" },
        { 1, { "a.qzeros", "F32", { GROUPS, 2 }, 2, { 0 } }, "\"a.qzeros\": wanted I32 [4, 2], found F32 [4, 2]" },
        { 1, { "b.qzeros", "I32", { GROUPS, 1 }, 2, { 0 } }, "\"a.qweight\": wanted a tensor \"qzeros\" beside it" },
        { 2, { "a.scales", "I32", { GROUPS, OUT }, 2, { 0 } }, "found I32 [4, 16]" },
        { 2, { "a.scales", "F16", { GROUPS, OUT }, 2, { 0, 0x7c } }, "a value of row 0 is no finite number" },
        { 2, { "a.scale", "F16", { GROUPS, OUT }, 2, { 0 } }, "wanted a tensor \"scales\" beside it" },
        { 3, { "a.g_idx", "I32", { IN }, 1, { 0, 0, 0, 0, 4 } }, "\"a.g_idx\": input 1 is in group 4; wanted 0 to 3" },
        { 3, { "a.g_idx", "I32", { IN }, 1, { 255, 255, 255, 255 } }, "input 0 is in group -1" },
        { 3, { "a.g_idx", "I32", { 8 }, 1, { 0 } }, "tensor \"a.g_idx\": wanted I32 [16], found I32 [8]" },
        { 3, { "g_idx", "I32", { IN }, 1, { 0 } }, "wanted a tensor \"g_idx\" beside it" },
        { 3, { "a.weight", "F16", { 1 }, 1, { 0 } }, "wanted a tensor \"g_idx\"" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        struct tensor t[4];
        make_gptq(t, 4, true);
        t[bad[i].which] = bad[i].as;
        refused(config, t, 4, bad[i].why);
    }
}

static void awq_is_refused_by_name(void **state)
{
    static const struct { const char *config; size_t which; struct tensor as; const char *why; } bad[] = {
        { AWQ("\"bits\":8"), 3, { 0 }, "weights packed by \"awq\": wanted \"bits\" 4, found 8" },
        { AWQ("\"bits\":4,\"version\":\"gemv\""), 3, { 0 }, "\"version\" gemv" },
        { AWQ("\"bits\":4,\"version\":\"marlin\""), 3, { 0 }, "\"version\" marlin" },
        { AWQ("\"bits\":4,\"backend\":\"llm-awq\""), 3, { 0 }, "\"backend\" llm-awq" },
        { AWQ("\"bits\":4,\"desc_act\":true"), 3, { 0 }, "\"desc_act\" (its value)" },
        { "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":8}}", 3, { 0 },
          "tensor \"a.scales\": wanted F16, BF16 or F32 [2, 16], found F16 [4, 16]" },
        { AWQ("\"bits\":4"), 0, { "a.qweight", "I32", { 2, OUT }, 2, { 0 } }, "\"a.scales\": wanted F16" },
        { AWQ("\"bits\":4"), 0, { "a.qweight", "I32", { IN }, 1, { 0 } }, "wanted I32 [inputs, outputs / 8]" },
        { AWQ("\"bits\":4"), 1, { "a.qzeros", "I32", { 1, 1 }, 2, { 0 } }, "\"a.qzeros\": wanted I32 [4, 2]" },
        { AWQ("\"bits\":4"), 1, { "a.zeros", "I32", { 4, 1 }, 2, { 0 } }, "wanted a tensor \"qzeros\" beside it" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        struct tensor t[4];
        make_awq(t);
        t[bad[i].which] = bad[i].as;
        refused(bad[i].config, t, 3, bad[i].why);
    }
}

static void compressed_is_refused_by_name(void **state)
{
    static const struct { const char *config; size_t which; struct tensor as; const char *why; } bad[] = {
        { CT("\"num_bits\":3,\"symmetric\":false"), 5, { 0 }, "wanted \"num_bits\" 4 or 8, found 3" },
        { CT("\"num_bits\":4,\"symmetric\":false,\"strategy\":\"block\""), 5, { 0 }, "\"strategy\" block" },
        { CT("\"num_bits\":4,\"symmetric\":false,\"strategy\":\"group\""), 5, { 0 }, "\"group_size\" of the" },
        { CT("\"num_bits\":4,\"symmetric\":false,\"strategy\":\"channel\",\"group_size\":4"), 5, { 0 },
          "found 4 with the strategy channel" },
        { CT("\"num_bits\":4,\"symmetric\":false,\"dynamic\":true"), 5, { 0 }, "\"dynamic\" (its value)" },
        { CT("\"num_bits\":4,\"symmetric\":true," BY_GROUP), 5, { 0 },
          "\"a.weight_zero_point\": config.json says that the weights are symmetric" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 3, { "a.b", "F16", { 1 }, 1, { 0 } },
          "wanted a tensor \"weight_zero_point\" beside it" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP ",\"actorder\":\"group\""), 4,
          { "a.b", "F16", { 1 }, 1, { 0 } }, "wanted a tensor \"weight_g_idx\" beside it" },
        { CT("\"num_bits\":8,\"symmetric\":false," BY_GROUP), 5, { 0 },
          "\"a.weight_packed\" of 8 bits is I32 [16, 2]; weight_shape says [16, 16]" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 2,
          { "a.weight_shape", "I64", { 2 }, 1, { 1, [8] = 255 } }, "weight_shape says [1, 255]" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 2, { "a.weight_shape", "F16", { 2 }, 1, { 0 } },
          "\"a.weight_shape\": wanted I64 [2], found F16 [2]" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 1, { "a.weight_scale", "F16", { OUT }, 1, { 0 } },
          "\"a.weight_scale\": wanted F16, BF16 or F32 [16, 4], found F16 [16]" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 4, { "a.weight_g_idx", "I32", { IN }, 1, { 9 } },
          "\"a.weight_g_idx\": input 0 is in group 9; wanted 0 to 3" },
        { CT("\"num_bits\":4,\"symmetric\":false," BY_GROUP), 4, { "a.weight_g_idx", "I32", { IN }, 1, { 1 } },
          "\"a.weight_g_idx\": wanted 4 inputs in each group, found 15 in group 0" },
        { "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{"
          "\"g\":{\"weights\":{\"type\":\"int\",\"num_bits\":4}},"
          "\"h\":{\"weights\":{\"type\":\"float\",\"num_bits\":8}}}}}",
          5, { 0 }, "\"config_groups\": wanted all weights as whole numbers, or all as numbers of floating point" },
        { CT2("\"num_bits\":4,\"group_size\":6", "\"num_bits\":4,\"group_size\":7"), 1,
          { "a.weight_scale", "F16", { OUT, 3 }, 2, { 0 } }, "\"a.weight_zero_point\": config.json says that the" },
        { CT2("\"num_bits\":8,\"group_size\":4", "\"num_bits\":4,\"group_size\":4"), 5, { 0 },
          "\"a.weight_packed\" of 8 bits is I32 [16, 2]" },
        { GPTQ("\"bits\":4"), 5, { 0 }, "tensor \"a.weight_packed\" is packed as whole numbers" },
    };
    struct tensor t[6];
    gr_buf ways = { 0 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        make_words(t, 4);
        t[bad[i].which] = bad[i].as;
        refused(bad[i].config, t, 5, bad[i].why);
    }
    make_words(t, 4);
    t[1].dim[1] = 3;
    refused(CT2("\"num_bits\":4,\"group_size\":6", "\"num_bits\":4,\"group_size\":7"), t, 3,
            "tensor \"a.weight_packed\": more than one way of \"config_groups\" fits it");
    gr_buf_puts(&ways, "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{");
    for (int i = 1; i <= GR_WAYS + 1; i++)
        gr_buf_printf(&ways, "\"%d\":{\"weights\":{\"num_bits\":4,\"group_size\":%d}}%s", i, i,
                      i <= GR_WAYS ? "," : "}}}");
    refused(ways.p, t, 3, "\"config_groups\": wanted weights packed in 8 ways at most");
    gr_buf_clear(&ways);
    make_bytes(t);
    refused("{}", t, 3, "tensor \"a.weight\" is packed as whole numbers");
    refused(CT("\"num_bits\":8,\"symmetric\":false," BY_GROUP), t, 2, "wanted a tensor \"weight_zero_point\"");
    t[2].dim[1] = 1;
    refused(CT("\"num_bits\":8,\"symmetric\":true," BY_GROUP), t, 3, "\"a.weight_zero_point\": wanted I8 [16, 4]");
    t[0].n_dims = 1;
    refused(CT("\"num_bits\":8,\"symmetric\":true," BY_GROUP), t, 2, "wanted I8 [outputs, inputs], found I8 [16]");
}

/* ---- bitsandbytes ----------------------------------------------------------------------------------- */

#define BNB(more) "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\"," more "}}"
#define NF4 "\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\",\"bnb_4bit_quant_storage\":\"uint8\""

enum { ROWS = 3, COLS = 5, BLOCK = 4, BLOCKS = 4, OUTER = 3, PARTS = 6 };

static const char whole_state[] = "{\"quant_type\": \"nf4\", \"blocksize\": 4, \"dtype\": \"bfloat16\", "
                                  "\"shape\": [3, 5]}";
static const char nested_state[] = "{\"quant_type\": \"nf4\", \"blocksize\": 4, \"dtype\": \"float32\", "
                                   "\"shape\": [3, 5], \"nested_blocksize\": 3, \"nested_dtype\": \"float32\", "
                                   "\"nested_offset\": 0.25}";

static float number_of(size_t code) { return (float)code / 8 - 1; }
static size_t code_at(size_t i) { return (5 * i + 3) % 16; }
static float most_at(size_t block) { return (float)(block + 1) / 2; }

static void put_state(struct tensor *t, const char *json)
{
    t->dim[0] = strlen(json);
    memcpy(t->data, json, t->dim[0]);
}

static void put_floats(struct tensor *t, float of(size_t i), size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy(t->data + 4 * i, &(float){ of(i) }, 4);
}

/* A code of absmax is the index of the second half of what it would be; the outer block doubles it. */
static float outer_number(size_t i) { return (float)i / 64; }
static float outer_most(size_t i) { return (float)(i + 1); }

/* 15 codes of 4 bits, whose blocks of 4 go on from row to row. nested: absmax are codes, too. */
static void make_bnb(struct tensor t[PARTS], bool nested)
{
    struct tensor made[PARTS] = {
        { "a.weight", "U8", { 8, 1 }, 2, { 0 } }, { "a.weight.quant_map", "F32", { 16 }, 1, { 0 } },
        { "a.weight.absmax", nested ? "U8" : "F32", { BLOCKS }, 1, { 0 } },
        { "a.weight.quant_state.bitsandbytes__nf4", "U8", { 0 }, 1, { 0 } },
        { "a.weight.nested_absmax", nested ? "F32" : NULL, { 2 }, 1, { 0 } },
        { "a.weight.nested_quant_map", nested ? "F32" : NULL, { 256 }, 1, { 0 } },
    };

    for (size_t i = 0; i < ROWS * COLS; i++)
        made[0].data[i / 2] |= (uint8_t)(code_at(i) << (i % 2 ? 0 : 4));
    put_floats(&made[1], number_of, 16);
    if (nested) {
        for (size_t b = 0; b < BLOCKS; b++)
            made[2].data[b] = (uint8_t)(8 * b);
        put_floats(&made[4], outer_most, 2);
        put_floats(&made[5], outer_number, 256);
    } else {
        put_floats(&made[2], most_at, BLOCKS);
    }
    put_state(&made[3], nested ? nested_state : whole_state);
    memcpy(t, made, sizeof made);
}

static void bnb_is_read(void **state)
{
    (void)state;
    for (int nested = 0; nested < 2; nested++) {
        struct tensor t[PARTS];
        const gr_named *a;
        gr_weights *w;
        make_bnb(t, nested);
        CHECK_OK(open_tensors(&w, BNB(NF4), t, PARTS));
        a = gr_weights_find(w, "a.weight");
        assert_true(gr_weights_count(w) == 1 && a && a->n_dims == 2 && a->dim[0] == ROWS && a->dim[1] == COLS);
        assert_int_equal(a->type, nested ? GR_F32 : GR_BF16);
        for (size_t i = 0; i < ROWS * COLS; i++) {
            size_t b = i / BLOCK;
            float most = nested ? outer_number(8 * b) * outer_most(b / OUTER) + 0.25f : most_at(b);
            CHECK_NEAR(gr_named_value(a, i), number_of(code_at(i)) * most, 0);         /* of few bits: exact */
        }
        gr_weights_close(w);
    }
}

static void bnb_of_eight_bits_is_read(void **state)
{
    struct tensor t[3] = { { "a.weight", "I8", { 2, 2 }, 2, { 127, 0, 129, 64 } },
                           { "a.SCB", "F32", { 2 }, 1, { 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40 } },     /* 1 and 2 */
                           { "a.weight_format", "U8", { 0 }, 0, { 0 } } };
    static const float want[] = { 1, 0, -2, 128.0f / 127 };
    gr_weights *w;

    (void)state;
    CHECK_OK(open_tensors(&w, BNB("\"load_in_8bit\":true,\"llm_int8_threshold\":6.0"), t, 3));
    for (size_t i = 0; i < 4; i++)          /* two roundings */
        CHECK_NEAR(gr_named_value(gr_weights_find(w, "a.weight"), i), want[i], 2.4e-7);
    assert_int_equal(gr_weights_count(w), 1);
    gr_weights_close(w);
    refused(BNB(NF4), t, 3, "has no \"quantization_config\" of bitsandbytes with 8 bits");
    refused("{}", t, 3, "config.json has no \"quantization_config\" that says how");
    t[2].data[0] = 1;
    refused(BNB("\"load_in_8bit\":true"), t, 3, "\"a.weight_format\": wanted the number 0");
    refused(BNB("\"load_in_8bit\":true,\"load_in_4bit\":true"), t, 3, "both 4 bits and 8");
    refused(BNB("\"load_in_8bit\":true,\"llm_int8_has_fp16_weight\":true"), t, 3, "llm_int8_has_fp16_weight");
    refused(BNB("\"load_in_8bit\":true"), t, 1, "wanted a tensor \"SCB\" beside it");
}

static void bnb_is_refused_by_name(void **state)
{
    static const struct { size_t which; struct tensor as; const char *why; } bad[] = {
        { 0, { "a.weight", "U8", { 7, 1 }, 2, { 0 } },
          "\"a.weight\": wanted 8 bytes, two codes in each, for [3, 5]; found 7" },
        { 1, { "a.weight.quant_map", "F32", { 8 }, 1, { 0 } }, "\"a.weight.quant_map\": wanted F32 [16]" },
        { 1, { "a.quant_map", "F32", { 16 }, 1, { 0 } }, "wanted a tensor \"weight.quant_map\" beside it" },
        { 2, { "a.weight.absmax", "F32", { 5 }, 1, { 0 } }, "\"a.weight.absmax\": wanted F32 [4], found F32 [5]" },
        { 2, { "a.weight.absmax", "U8", { 4 }, 1, { 0 } }, "\"a.weight.absmax\": wanted F32 [4], found U8" },
        { 2, { "a.weight.absmax", "F32", { 4 }, 1, { 0, 0, 0x80, 0x7f } }, "a value of row 0 is no finite number" },
        { 3, { "a.weight.quant_state.bitsandbytes__nf5", "U8", { 2 }, 1, { '{', '}' } }, "wanted quant_state" },
        { 3, { "a.weight.quant_state.bitsandbytes__fp4", "U8", { 2 }, 1, { '{', '}' } }, "\"quant_type\" is not what" },
        { 3, { "a.weight.quant_state.bitsandbytes__nf4", "U8", { 1 }, 1, { '{' } }, "bitsandbytes__nf4" },
        { 3, { "a.weight.quant_state.bitsandbytes__nf4", "F32", { 2 }, 1, { '{', '}' } }, "wanted JSON as U8" },
    };
    static const char *const json[][2] = {
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"int8\", \"shape\": [3, 5]", "wanted the \"dtype\" float32" },
        { "\"nf4\", \"blocksize\": 0, \"dtype\": \"float16\", \"shape\": [3, 5]", "\"blocksize\" above 0" },
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"float16\", \"shape\": [3]", "\"shape\" of two counts" },
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"float16\", \"shape\": [9, 4611686018427387904]", "two counts" },
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"float16\", \"shape\": [3, 5], \"skew\": 1",
          "key that is not known" },
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"float16\", \"shape\": [3, 5], \"nested_offset\": 1",
          "wanted a \"nested_blocksize\" above 0" },
        { "\"nf4\", \"blocksize\": 4, \"dtype\": \"float16\", \"shape\": [3, 5], \"nested_blocksize\": 3, "
          "\"nested_dtype\": \"float16\", \"nested_offset\": 1", "\"nested_dtype\" float32" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        struct tensor t[PARTS];
        make_bnb(t, false);
        t[bad[i].which] = bad[i].as;
        refused(BNB(NF4), t, PARTS, bad[i].why);
    }
    for (size_t i = 0; i < GR_COUNT(json); i++) {
        struct tensor t[PARTS];
        char text[256];
        make_bnb(t, false);
        snprintf(text, sizeof text, "{\"quant_type\": %s}", json[i][0]);
        put_state(&t[3], text);
        refused(BNB(NF4), t, PARTS, json[i][1]);
    }
}

static void bnb_configs_are_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        { "{}", "has no \"quantization_config\" of bitsandbytes with 4 bits" },
        { GPTQ("\"bits\":4"), "has no \"quantization_config\" of bitsandbytes with 4 bits" },
        { BNB("\"load_in_8bit\":true"), "of bitsandbytes with 4 bits" },
        { BNB("\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"af4\""), "\"bnb_4bit_quant_type\" af4" },
        { BNB("\"load_in_4bit\":true,\"bnb_4bit_quant_storage\":\"bfloat16\""), "\"bnb_4bit_quant_storage\" bfloat16" },
        { BNB("\"load_in_4bit\":true,\"hadamard\":2"), "\"hadamard\" (its value)" },
    };
    struct tensor t[PARTS];

    (void)state;
    make_bnb(t, true);
    for (size_t i = 0; i < GR_COUNT(bad); i++)
        refused(bad[i][0], t, PARTS, bad[i][1]);
}

/* Codes that are no weight's, and a weight that is there twice. */
static void strays_are_refused_by_name(void **state)
{
    struct tensor t[5];

    (void)state;
    make_gptq(t, 4, true);
    t[4] = (struct tensor){ "b.ids", "I64", { 2 }, 1, { 0 } };
    refused(GPTQ("\"bits\":4"), t, 5, "tensor \"b.ids\" is I64; F64, F32, F16, BF16 and F8_E4M3 are supported");
    refused("{}", t + 4, 1, "tensor \"b.ids\" is I64");
    t[4] = (struct tensor){ "b.g_idx", "I32", { 2 }, 1, { 0 } };
    refused(GPTQ("\"bits\":4"), t, 5, "tensor \"b.g_idx\" is I32");
    t[4] = (struct tensor){ "a.weight", "F16", { 2 }, 1, { 0 } };
    refused(GPTQ("\"bits\":4"), t, 5, "tensor \"a.weight\" is there twice");
}

/* The same values, and the same sentence, the first of its file, by any number of threads. */
static void threads_change_nothing(void **state)
{
    enum { R = 200, C = 5 };
    static const char config[] = CT("\"num_bits\":8,\"symmetric\":true,\"strategy\":\"channel\"");
    struct tensor t[4] = { { "b.weight", "I8", { R, C }, 2, { 0 } }, { "b.weight_scale", "F16", { R, 1 }, 2, { 0 } } };

    (void)state;
    for (size_t i = 0; i < R * C; i++)
        t[0].data[i] = (uint8_t)(7 * i + i / 256);
    for (size_t r = 0; r < R; r++)
        put_scale(&t[1], r, 1.0 / (double)(1u << r % 7));
    memcpy(t + 2, t, 2 * sizeof *t);
    t[2].name = "a.weight", t[3].name = "a.weight_scale";
    for (threads = 1; threads < 6; threads++) {
        gr_weights *w;
        CHECK_OK(open_tensors(&w, config, t, 4));
        assert_int_equal(gr_weights_count(w), 2);
        for (size_t i = 0; i < R * C; i++)
            for (size_t k = 0; k < 2; k++)
                CHECK_NEAR(gr_named_value(gr_weights_at(w, k), i),
                           (float)(int8_t)t[0].data[i] / (float)(1u << i / C % 7), 0);
        gr_weights_close(w);
    }
    for (size_t i = 0; i < 4; i++)              /* infinite, each with a code that is not 0 */
        memcpy(t[i < 1 ? 3 : 1].data + 2 * (size_t[]){ 3, 170, 37, 99 }[i], &(uint16_t){ 0x7c00 }, 2);
    for (threads = 1; threads < 6; threads++)
        refused(config, t, 4, "tensor \"b.weight\": a value of row 37 is no finite number");
    threads = 1;
}

int main(void)
{
    const struct CMUnitTest test[] = {
        cmocka_unit_test(gptq_is_read), cmocka_unit_test(gptq_configs_are_refused_by_name),
        cmocka_unit_test(gptq_tensors_are_refused_by_name), cmocka_unit_test(awq_is_read),
        cmocka_unit_test(awq_is_refused_by_name), cmocka_unit_test(words_are_read),
        cmocka_unit_test(ways_are_told_apart), cmocka_unit_test(no_list_is_read),
        cmocka_unit_test(bytes_are_read), cmocka_unit_test(compressed_is_refused_by_name),
        cmocka_unit_test(strays_are_refused_by_name),
        cmocka_unit_test(bnb_is_read), cmocka_unit_test(bnb_of_eight_bits_is_read),
        cmocka_unit_test(bnb_is_refused_by_name), cmocka_unit_test(bnb_configs_are_refused_by_name),
        cmocka_unit_test(threads_change_nothing),
    };

    return cmocka_run_group_tests(test, NULL, NULL);
}
