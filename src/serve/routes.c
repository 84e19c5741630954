/* routes.c - read this to know which path leads where. Where clients of different servers say the same path, the
 * fields of the body tell them apart; a field that is null is not there. */
#include "serve/endpoints.h"
#include "serve/serve_int.h"

static bool has(const gr_req *r, const char *name)
{
    return gr_field(r, (const char *[]){ name, NULL }) != NULL;
}

static int any_score(gr_req *r)
{
    static const char *const either[] = { "label_token_ids", "prompt", "pairs", "queries", "documents", NULL };

    if (has(r, "label_token_ids"))
        return gr_check_one_of(r, either) ? r->status : gr_labels_sglang(r);
    return has(r, "prompt") || has(r, "pairs") ? gr_own_score(r) : gr_vllm_score(r);
}

static int any_rerank(gr_req *r)
{
    if (gr_check_one_of(r, (const char *[]){ "documents", "texts", NULL }))
        return r->status;
    return has(r, "texts") ? gr_tei_rerank(r) : gr_rerank(r);
}

static int any_classify(gr_req *r)
{
    if (gr_check_one_of(r, (const char *[]){ "input", "messages", "conv", "text", NULL }))
        return r->status;
    return has(r, "conv") || has(r, "text") ? gr_sglang_classify(r) : gr_vllm_classify(r);
}

const gr_route gr_routes[] = {
    { "POST", "/v1/score",              any_score,          false, false },
    { "POST", "/v1/rank",               gr_own_rank,        false, false },
    { "POST", "/v1/reward",             gr_own_reward,      false, false },
    { "POST", "/get_reward",            gr_openrlhf,        false, false },
    { "POST", "/score",                 any_score,          false, false },
    { "POST", "/rerank",                any_rerank,         false, false },
    { "POST", "/v1/rerank",             any_rerank,         false, false },
    { "POST", "/v2/rerank",             any_rerank,         false, false },
    { "POST", "/reranking",             any_rerank,         false, false },
    { "POST", "/v1/reranking",          any_rerank,         false, false },
    { "POST", "/classify",              any_classify,       false, false },
    { "POST", "/v1/classify",           any_classify,       false, false },
    { "POST", "/pooling",               gr_vllm_pooling,    false, false },
    { "POST", "/v1/embeddings",         gr_vllm_embeddings, false, false },
    { "POST", "/generative_scoring",    gr_labels_vllm,     false, false },
    { "POST", "/predict",               gr_tei_predict,     false, false },
    { "POST", "/v1/score/evaluation",   gr_llamafactory,    false, false },
    { "POST", "/compare",               gr_nemo_compare,    false, false },
    { "POST", "/v1/chat/completions",   gr_chat,            false, false },
    { "POST", "/v1/completions",        gr_completions,     false, false },
    { "POST", "/tokenize",              gr_tokenize,        false, false },
    { "POST", "/detokenize",            gr_detokenize,      false, false },
    { "POST", "/apply-template",        gr_apply_template,  false, false },
    { "GET",  "/v1/models",             gr_models,          false, false },
    { "GET",  "/metrics",               gr_metrics_answer,  false, true },
    { "GET",  "/health",                gr_health,          true,  true },
    { "GET",  "/",                      gr_page,            true,  true },
    { "GET",  "/style.css",             gr_page,            true,  true },
    { "GET",  "/dom.js",                gr_page,            true,  true },
    { "GET",  "/app.js",                gr_page,            true,  true },
    { "GET",  "/verdict.js",            gr_page,            true,  true },
    { "GET",  "/pairs.js",              gr_page,            true,  true },
    { "GET",  "/icon.svg",              gr_page,            true,  true },
    { "GET",  "/d3.js",                 gr_page,            true,  true },
    { "GET",  "/d3.txt",                gr_page,            true,  true },
    { "GET",  "/openapi.json",          gr_page,            true,  true },
};
const size_t gr_n_routes = GR_COUNT(gr_routes);
_Static_assert(GR_COUNT(gr_routes) <= GR_ROUTES_MAX, "metrics.c counts by route");
