/* endpoints.h - where each endpoint begins. A family of shapes is a file; routes.c says which path leads where. */
#ifndef GR_SERVE_ENDPOINTS_H
#define GR_SERVE_ENDPOINTS_H

#include "serve/req.h"

gr_req_fn gr_own_score, gr_own_rank, gr_own_reward;                     /* own_*.c */
gr_req_fn gr_vllm_score, gr_vllm_classify, gr_vllm_pooling, gr_vllm_embeddings;
gr_req_fn gr_sglang_classify;
gr_req_fn gr_rerank, gr_tei_predict, gr_tei_rerank;
gr_req_fn gr_labels_vllm, gr_labels_sglang;
gr_req_fn gr_openrlhf, gr_llamafactory, gr_nemo_compare;
gr_req_fn gr_chat, gr_completions;
gr_req_fn gr_health, gr_models, gr_page, gr_tokenize, gr_detokenize, gr_apply_template; /* meta.c */

#endif
