/* fuzz_gguf.c - any bytes as a GGUF file: its tensors, its lists, the configuration and the tokenizer they make. */
#include "file/adapter.h"
#include "file/gguf_tok.h"
#include "file/weights.h"
#include "fuzz_file.h"

static void ask(const gr_gguf *g, const char *key)
{
    size_t n = gr_gguf_count(g, key);
    gr_str *s = calloc(n + 1, sizeof *s), one;
    float *f = calloc(n + 1, sizeof *f);
    int32_t *i = calloc(n + 1, sizeof *i);
    bool *b = calloc(n + 1, sizeof *b), bit;
    uint64_t u;
    double d;

    if (!s || !f || !i || !b)
        abort();
    gr_gguf_strs(g, key, s);
    gr_gguf_f32s(g, key, f);
    gr_gguf_i32s(g, key, i);
    gr_gguf_bools(g, key, b);
    gr_gguf_str(g, key, &one);
    gr_gguf_u64(g, key, &u);
    gr_gguf_f64(g, key, &d);
    gr_gguf_bool(g, key, &bit);
    free(s);
    free(f);
    free(i);
    free(b);
}

/* The tokenizer, and the tokenizer.json that it becomes. */
static void read_tokenizer(const gr_weights *w)
{
    static const char text[] = " Yes <sep>  w\xc3\xb6rld 123\n don't<s>";
    gr_buf json = { 0 };
    gr_ids ids = { 0 };
    gr_gguf_tok g;
    gram_err err;
    gr_tok *t;

    if (gr_gguf_tok_read(&g, w, &err))
        return;
    if (!gr_tok_from_spec(&t, "fuzz", &g.lists.spec, &err)) {
        (void)gr_tok_encode(t, text, sizeof text - 1, true, &ids, &err);
        gr_tok_close(t);
        if (!gr_tok_spec_json(&g.lists.spec, "fuzz", g.bos, g.eos, &json, &err) &&
            !gr_tok_from_json(&t, "written", json.p, json.n, &err))
            gr_tok_close(t);
    }
    gr_ids_clear(&ids);
    gr_buf_clear(&json);
    gr_gguf_tok_clear(&g);
}

/* As an adapter, if it says that it is one. */
static void read_adapter(const char *path)
{
    gram_err err;
    bool is;
    gr_adapter *a;

    if (gr_adapter_is(&is, path, &err) || !is || gr_adapter_open(&a, path, &err))
        return;
    if (!a->cfg.rank || !(a->cfg.alpha > 0) || !a->arch)
        abort();
    for (size_t i = 0; i < gr_adapter_count(a); i++)
        fuzz_touch(gr_adapter_at(a, i)->data, gr_adapter_at(a, i)->bytes);
    (void)gr_adapter_find(a, GR_ADAPTER_STEM "model.layers.0.self_attn.q_proj.lora_A.weight");
    gr_adapter_close(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const key[] = { "t.strings", "t.i32s", "t.f32s", "t.bools", "t.u8", "t.i64", "t.f64",
                                       "t.string" };
    const char *path = fuzz_file(data, size);
    gr_weights *w;
    gr_config c;
    gram_err err;

    read_adapter(path);
    if (gr_weights_open_gguf(&w, path, &err))
        return 0;
    for (size_t i = 0; i < gr_weights_count(w); i++)
        fuzz_touch(gr_weights_at(w, i)->data, gr_weights_at(w, i)->bytes);
    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        ask(gr_weights_gguf(w), key[i]);
    read_tokenizer(w);
    if (!gr_config_open(&c, w, NULL, &(gr_head_asked){ 0 }, &err)) {
        gr_buf text = { 0 };
        gr_config again;
        if (!gr_config_json(&c, "fuzz", "float32", &text, &err) &&
            !gr_config_parse(&again, "written", text.p, text.n, &err))
            gr_config_clear(&again);
        gr_buf_clear(&text);
        gr_config_clear(&c);
    }
    gr_weights_close(w);
    return 0;
}
