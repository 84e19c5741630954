/* tok_pre.c - what tokenizer.ggml.pre stands for: how a text is cut into words before the merges.
 *
 * A GGUF names it with one word, llama.cpp's. Here each word has the regular expressions that cut a text one after the
 * other, as the tokenizer.json of the models has them where it is known (with the normal form that llama.cpp leaves
 * out), and as llama.cpp has them otherwise. They are turned into the components of a tokenizer.json, from which a
 * tokenizer is built, which are written, and in which a tokenizer.json is recognised: one place for all three. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "text/tokenizer_int.h"

#define CASE   "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ASIDE  "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define MARKS  " ?[^\\s\\p{L}\\p{N}]+"
#define LINES  "|\\s*[\\r\\n]+"
#define SPACES "|\\s+(?!\\S)|\\s+"
#define CL100K CASE "|" ASIDE "\\p{L}+|\\p{N}{1,3}|" MARKS "[\\r\\n]*" LINES SPACES
#define QWEN   CASE "|" ASIDE "\\p{L}+|\\p{N}|" MARKS "[\\r\\n]*" LINES SPACES
#define O200K  ASIDE UPPER "*" LOWER "+" CASE "?|" ASIDE UPPER "+" LOWER "*" CASE "?|\\p{N}{1,3}|" MARKS \
               "[\\r\\n/]*" LINES SPACES

enum { IGNORE = 1, NFC = 2, BOS = 4, STEPS = 6 };   /* a word of the vocabulary needs no merges; a BOS by default */

/* Names: the first is what is written. A tokenizer.json is given the first family that it fits. */
static const struct family { const char *names; unsigned how; const char *re[STEPS + 1]; } family[] = {
    { "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", IGNORE | BOS, { CL100K } },
    { "smaug-bpe dbrx chatglm-bpe", 0, { CL100K } },
    { "glm4 glm5", IGNORE, { CL100K } },
    { "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez", NFC, { QWEN } },
    { "stablelm2 hunyuan solar-open grok-2", 0, { QWEN } },
    { "qwen35", NFC, { CASE "|" ASIDE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" LINES SPACES } },
    { "gpt-2 phi-2 gigachat a.x-4.0 mellum modern-bert exaone4 jais trillion granite-docling "
      "jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe", 0, { gr_re_gpt2 } },
    { "olmo mpt", NFC, { gr_re_gpt2 } },
    { "smollm starcoder refact codeshell exaone minerva-7b mellum2", 0, { "\\p{N}", gr_re_gpt2 } },
    { "command-r", NFC, { "\\p{N}", gr_re_gpt2 } },
    { "tekken", IGNORE | BOS,
      { ASIDE UPPER "*" LOWER "+|" ASIDE UPPER "+" LOWER "*|\\p{N}|" MARKS "[\\r\\n/]*" LINES SPACES } },
    { "gpt-4o llama4 kanana2 talkie minimax-m2", 0, { O200K } },
    { "granite-embed-multi-97m", IGNORE, { O200K } },
    { "tiny_aya cohere2moe", 0, { "\\d{1,3}(?=(?:\\d{3})*\\b)", O200K } },
    { "deepseek-llm", 0,
      { "[\r\n]",
        "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
        "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
        "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
        "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
        "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-"
        "\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107"
        "\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
        "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
        "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
        "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
        "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
        "\\s+$",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        "\\p{N}+" } },
    { "deepseek-coder", 0,
      { "[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}" } },
    { "deepseek-v3 hunyuan-dense joyai-llm hy_v4", 0,
      { "\\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
        " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+" SPACES } },
    { "spark2_5", 0,
      { "\\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
        " ?[\\p{P}\\p{S}]+|[\r\n]" SPACES,
        "\\p{N}" } },
    { "youtu", IGNORE,
      { "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
        "\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        ASIDE UPPER "*" LOWER "+" CASE "?|" ASIDE UPPER "+" LOWER "*" CASE "?|\\p{N}|" MARKS "[\\r\\n/]*" LINES
        SPACES } },
    { "falcon", 0, { "[\\p{P}\\$\\+<=>\\^~\\|`]+", gr_re_gpt2, "[0-9][0-9][0-9]" } },
    { "bloom poro-chat gpt3-finnish", 0, { " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+" } },
    { "viking", 0, { " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+", "\\p{N}" } },
    { "jais-2", 0,
      { CASE "|" ASIDE "\\p{L}+|\\p{N}{1,3}|" MARKS "[\\r\\n]*" LINES
        "|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|"
        "\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}" } },
    { "chameleon", BOS,
      { "<sentinel:[0-9]+>",
        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        "([\\t\\n]|    |  )",
        "\\p{N}",
        "[\\p{P}!-/:-@\\[-`{-~]",
        gr_re_gpt2 } },
    { "kimi-k2", 0,
      { "\\p{Han}+|" ASIDE "(?:(?!\\p{Han})" UPPER ")*(?:(?!\\p{Han})" LOWER ")+" CASE "?|" ASIDE
        "(?:(?!\\p{Han})" UPPER ")+(?:(?!\\p{Han})" LOWER ")*" CASE "?|\\p{N}{1,3}|" MARKS "[\\r\\n]*" LINES
        SPACES } },
    { "superbpe", 0, { "\\p{N}+", "(?=(\\d{3})+(?!\\d))" } },
    { "bailingmoe bailingmoe2 llada-moe", 0,
      { "'(?i:[sdmt]|ll|ve|re)|" ASIDE "+\\p{L}+|\\p{N}|" MARKS "+[\\r\\n]*|\\s*[\\r\\n]" SPACES } },
    { "seed-coder", 0, { CASE "|" ASIDE "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" LINES SPACES } },
    { "ufakzeka", 0, { ASIDE "\\p{L}+|\\p{N}|" MARKS "[\\r\\n]*" LINES SPACES } },
    { "afmoe", 0,
      { "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
        "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
        "\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af"
        "\u1100-\u11ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]"
        "+| ?[\\p{P}\\p{S}]+[\\r\\n]*" LINES SPACES } },
    { "laguna", 0, { "[^\\n]+|[\\n]+", QWEN } },
    { "exaone-moe", 0,
      { CASE "|" ASIDE "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" MARKS "[\\r\\n/]?|\\s*[\\r\\n]" SPACES } },
    { "minicpm5", IGNORE, { "\\p{N}{1,3}", CASE "|" ASIDE "\\p{L}+|\\p{N}+|" MARKS "[\\r\\n]*" LINES SPACES } },
    { "default", 0, { "[\\p{P}\\$\\+<=>\\^~\\|]+", gr_re_gpt2, "\\p{N}+", "[0-9][0-9][0-9]" } },
};

static bool is_name(const char *names, gr_str pre)
{
    for (const char *s = names; *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");
        if (n == pre.n && !memcmp(s, pre.p, n))
            return true;
        s += n;
    }
    return false;
}

static const struct family *find(gr_str pre)
{
    for (size_t i = 0; pre.n && i < GR_COUNT(family); i++)
        if (is_name(family[i].names, pre))
            return &family[i];
    return NULL;
}

bool gr_tok_pre_adds_bos(gr_str pre)
{
    const struct family *f = find(pre);

    return f && f->how & BOS;
}

static gram_status unknown(const char *name, gr_str pre, gram_err *err)
{
    char known[800] = "";
    size_t n = 0;

    for (size_t i = 0; i < GR_COUNT(family) && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%.*s", i ? ", " : "",
                              (int)strcspn(family[i].names, " "), family[i].names);
    if (pre.n == 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key tokenizer.ggml.pre is missing, so that how texts are cut into "
                       "words is not known; newer converters write it", name);
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tokenizer.ggml.pre is \"%.*s\"; known are %s", name,
                   (int)gr_min(pre.n, 60), pre.p, known);
}

/* ---- as components -------------------------------------------------------------------------------- */

static json_t *byte_level(bool regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", regex);
}

/* ByteLevel does the last one where it is GPT-2's; digits one by one have a word of their own. */
static json_t *step(const char *re)
{
    if (!strcmp(re, "\\p{N}"))
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", re, "behavior", "Isolated",
                     "invert", 0);
}

static json_t *words(const struct family *f)
{
    size_t n = 0;
    bool gpt2;
    json_t *list, *one;

    while (f->re[n])
        n++;
    gpt2 = f->re[n - 1] == gr_re_gpt2;
    if (gpt2 && n == 1)
        return byte_level(true);
    list = json_array();
    for (size_t i = 0; list && i < n + 1 - gpt2; i++) {
        one = i + gpt2 == n ? byte_level(gpt2) : step(f->re[i]);
        if (json_array_append_new(list, one))
            return json_decref(list), NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static gram_status pre_parts(gr_tok_parts *out, const char *name, gr_str pre, gram_err *err)
{
    const struct family *f = find(pre);

    if (!f)
        return unknown(name, pre, err);
    *out = (gr_tok_parts){ .normalizer = f->how & NFC ? json_pack("{s:s}", "type", "NFC") : json_null(),
                           .pre_tokenizer = words(f), .decoder = byte_level(true),
                           .ignore_merges = f->how & IGNORE };
    if (out->normalizer && out->pre_tokenizer && out->decoder)
        return GRAM_OK;
    gr_tok_parts_clear(out);
    return gr_nomem(err, name);
}

/* ---- SentencePiece -------------------------------------------------------------------------------- */

static json_t *replace(const char *from, const char *to)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content", to);
}

/* Spaces are written as U+2581, and one may be put before a text. */
static json_t *mark_spaces(bool prefix)
{
    if (!prefix)
        return replace(" ", META);
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend", META,
                     replace(" ", META));
}

static json_t *unmark_spaces(bool prefix)
{
    json_t *list = json_pack("[o, {s:s}, {s:s}]", replace(META, " "), "type", "ByteFallback", "type", "Fuse");

    if (prefix && json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ",
                                                        "start", 1, "stop", 0)))
        return json_decref(list), NULL;
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", list);
}

gram_status gr_tok_sentence_parts(gr_tok_parts *out, const char *name, bool prefix, gr_tok_scheme scheme,
                                  gram_err *err)
{
    static const char *const word[] = { [GR_SCHEME_ALWAYS] = "always", [GR_SCHEME_FIRST] = "first" };
    bool meta = prefix && scheme != GR_SCHEME_PREPEND;

    *out = (gr_tok_parts){ .normalizer = meta ? json_null() : mark_spaces(prefix), .decoder = unmark_spaces(prefix),
                           .pre_tokenizer = meta ? json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement",
                                                             META, "prepend_scheme", word[scheme], "split", 0)
                                                 : json_null() };
    if (out->normalizer && out->pre_tokenizer && out->decoder)
        return GRAM_OK;
    gr_tok_parts_clear(out);
    return gr_nomem(err, name);
}

gram_status gr_tok_parts_of(gr_tok_parts *out, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    if (gr_str_is(spec->model, "gpt2"))
        return pre_parts(out, name, spec->pre, err);
    if (gr_str_is(spec->model, "llama"))
        return gr_tok_sentence_parts(out, name, spec->add_space_prefix, spec->scheme, err);
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tokenizer.ggml.model is \"%.*s\"; gpt2 or llama wanted", name,
                   (int)gr_min(spec->model.n, 200), spec->model.n ? spec->model.p : "");
}

void gr_tok_parts_clear(gr_tok_parts *p)
{
    json_decref(p->normalizer);
    json_decref(p->pre_tokenizer);
    json_decref(p->decoder);
    *p = (gr_tok_parts){ 0 };
}

/* ---- recognised ----------------------------------------------------------------------------------- */

struct steps { const char *re[STEPS]; size_t n; bool bytes, other; };   /* other: what no family has */

static const char *text_at(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

/* The next character of a regular expression: a line's end stands for itself or is written \\n. */
static const char *letter(const char *s, char out[2])
{
    out[0] = *s == '\r' || *s == '\n' ? '\\' : *s;
    out[1] = *s == '\r' ? 'r' : *s == '\n' ? 'n' : *s == '\\' ? s[1] : '\0';
    return s + (*s == '\\' && s[1] ? 2 : 1);
}

static bool same_regex(const char *a, const char *b)
{
    /* tiktoken's own spelling of what the others spell out: it cuts the same words */
    static const char *const alike[][2] = {
        { CL100K, "'(?i:[sdmt]|ll|ve|re)|" ASIDE "+\\p{L}+|\\p{N}{1,3}|" MARKS "+[\\r\\n]*|\\s*[\\r\\n]" SPACES },
    };
    char x[2], y[2];

    for (size_t i = 0; i < GR_COUNT(alike); i++)
        if (!strcmp(a, alike[i][0]) && b != alike[i][1] && same_regex(alike[i][1], b))
            return true;
    while (*a && *b) {
        a = letter(a, x);
        b = letter(b, y);
        if (x[0] != y[0] || x[1] != y[1])
            return false;
    }
    return *a == *b;
}

/* A regular expression that cuts, or "". Where all of a text lies in matches, to take out the rest cuts it alike. */
static const char *regex_of(const json_t *j)
{
    static const char *const whole[] = { CL100K, QWEN, O200K };
    const char *how = text_at(j, "behavior"), *re = text_at(json_object_get(j, "pattern"), "Regex");
    bool invert = json_is_true(json_object_get(j, "invert"));

    if (!invert && !strcmp(how, "Isolated"))
        return re;
    for (size_t i = 0; invert && !strcmp(how, "Removed") && i < GR_COUNT(whole); i++)
        if (same_regex(whole[i], re))
            return re;
    return "";
}

static void read_step(struct steps *s, const json_t *j)
{
    const char *type = text_at(j, "type"), *re = "";
    const json_t *regex = json_object_get(j, "use_regex"), *v;
    size_t i;

    if (!strcmp(type, "Sequence")) {
        json_array_foreach(json_object_get(j, "pretokenizers"), i, v)
            read_step(s, v);
        return;
    }
    if (!strcmp(type, "ByteLevel") && json_is_false(json_object_get(j, "add_prefix_space")) && !s->bytes) {
        s->bytes = true;
        if (json_is_false(regex))
            return;
        re = gr_re_gpt2;
    } else if (s->bytes)
        re = "";
    else if (!strcmp(type, "Digits"))
        re = json_is_true(json_object_get(j, "individual_digits")) ? "\\p{N}" : "\\p{N}+";
    else if (!strcmp(type, "Split"))
        re = regex_of(j);
    if (!*re || s->n == STEPS)
        s->other = true;
    else
        s->re[s->n++] = re;
}

static bool same_steps(const struct family *f, const struct steps *s)
{
    size_t i = 0;

    while (i < s->n && f->re[i] && same_regex(f->re[i], s->re[i]))
        i++;
    return i == s->n && !f->re[i];
}

bool gr_tok_pre_recognise(const json_t *normalizer, const json_t *pre_tokenizer, bool ignore_merges, gr_str *pre)
{
    bool nfc = !strcmp(text_at(normalizer, "type"), "NFC");
    bool plain = !normalizer || json_is_null(normalizer) ||
                 (!strcmp(text_at(normalizer, "type"), "Sequence") &&
                  json_array_size(json_object_get(normalizer, "normalizers")) == 0);
    struct steps s = { 0 };

    read_step(&s, pre_tokenizer);
    for (size_t i = 0; i < GR_COUNT(family) && !s.other && s.bytes && (nfc || plain); i++) {
        const struct family *f = &family[i];
        if (nfc == !!(f->how & NFC) && ignore_merges == !!(f->how & IGNORE) && same_steps(f, &s)) {
            *pre = (gr_str){ f->names, strcspn(f->names, " ") };
            return true;
        }
    }
    return false;
}
