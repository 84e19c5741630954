-- wrk: requests of every kind in turn, right and wrong ones; bad counts answers that no request of these may get.
local function post(path, body)
   return wrk.format("POST", path, { ["Content-Type"] = "application/json" }, body)
end

local long = string.rep("word ", 4000)
local requests, at, threads = {}, 0, {}
bad, good = 0, 0

function setup(thread) table.insert(threads, thread) end

function init()
   large = post("/tokenize", '{"content":"' .. string.rep(long, 4) .. '"}')
   requests = {
      post("/v1/score", '{"prompt":"p","a":"x","b":"yy"}'),
      post("/v1/score", '{"pairs":[{"prompt":"p","a":"x","b":"yy"},{"prompt":"p","a":"FLIP","b":"z"}],"explain":true}'),
      post("/v1/rank", '{"prompt":"p","responses":["a","four","three","two"],"method":"tournament"}'),
      post("/v1/reward", '{"prompt":"p","responses":["a","b","' .. long .. '"]}'),
      post("/v1/chat/completions", '{"messages":[{"role":"user","content":"q"}],"logprobs":true,"top_logprobs":2}'),
      post("/generative_scoring", '{"query":"ab","items":["c","de"],"label_token_ids":[1,2]}'),
      post("/v1/score", '{"prompt":"p","a":"TOOLONG","b":"yy"}'),
      post("/v1/score", '{"prompt":"p","a":"x","b":'),
      post("/v1/score", '{"prompt":"p","a":3}'),
      post("/classify", '{"input":"no conversation"}'),
      wrk.format("GET", "/metrics"),
      wrk.format("GET", "/nowhere"),
      wrk.format("GET", "/v1/score"),
   }
end

function request()
   at = at + 1
   return at % 500 == 0 and large or requests[at % #requests + 1]
end

function response(status)
   if status == 200 then
      good = good + 1
   elseif status ~= 400 and status ~= 404 and status ~= 405 and status ~= 422 then
      bad = bad + 1
   end
end

function done(summary)
   local g, b = 0, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
   for _, t in ipairs(threads) do
      g, b = g + t:get("good"), b + t:get("bad")
   end
   io.write(string.format("good %d bad %d\n", g, b))
end
