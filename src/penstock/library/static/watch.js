// The watch page: asks the library for playback addresses, plays them, and shows what is going on. It starts at the
// beginning while the video is still being processed, follows the playlist as it grows, and ends where that ends.

const Hls = window.Hls;
const POLL_MS = 2000; // a new version of the timeline comes at most this often
const FINAL = new Set(["ready", "failed", "deleted"]);

const id = location.pathname.split("/")[2] ?? "";
const grant = new URLSearchParams(location.search).get("t");
const element = (name) => document.getElementById(name);
const media = element("video");
const quality = element("quality");

let player = null; // null until something can be played, and while a broken player waits for its successor
let resume = { position: 0, rate: 1, playing: false }; // where the next player begins
let playback = null; // the addresses in use; their token is renewed while they are
let renewing = null;
let following = false;
let mediaErrors = 0;

class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
  }
}

async function describe() {
  const query = new URLSearchParams();
  if (grant) query.set("t", grant);
  if (playback) query.set("session", playback.session_id);
  const response = await fetch(`/api/videos/${encodeURIComponent(id)}?${query}`, { cache: "no-store" });
  const answer = await response.json();
  if (response.status >= 500 || response.status === 429) throw new Error(answer.code); // worth another try
  if (!response.ok) throw new Refused(answer);
  return answer;
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = text === "";
}

function whyNotYet(video) {
  switch (video.state) {
    case "pending":
      return "The upload is not complete yet.";
    case "uploaded":
      return "Uploaded. Waiting for processing to begin …";
    case "processing":
      return `Preparing the beginning … ${percent(video.progress)}`;
    case "failed":
      return video.error ? `Processing failed: ${video.error.message}` : "Processing of this video failed.";
    case "deleted":
      return "This video was deleted.";
    default:
      return "This video cannot be played yet.";
  }
}

const percent = (share) => `${Math.round(share * 100)} %`;

function show(video) {
  document.title = `${video.title} – Penstock`;
  element("title").textContent = video.title;
  element("stat-state").textContent = video.state;
  element("work").hidden = FINAL.has(video.state);
  element("progress").value = video.progress;
  element("percent").textContent = percent(video.progress);
  if (video.poster && !media.poster) media.poster = video.poster;
}

// Looks at the video until nothing more will change, and starts playback as soon as there is something to play.
async function follow() {
  following = true;
  try {
    const video = await describe();
    show(video);
    if (!video.playback) say(whyNotYet(video));
    else if (!player) play(video.playback);
    following = !FINAL.has(video.state);
  } catch (error) {
    following = !(error instanceof Refused);
    if (!following) say(error.code === "video_not_found" ? "There is no such video, or it is private." : error.message);
    else if (!player) say("The server does not answer. Trying again …");
  }
  if (following) setTimeout(follow, POLL_MS);
}

// The token is one part of every address. What it opens stays the same when a fresh one takes its place.
const TOKEN = /\/stream\/([^/]+)\//;
const opened = (addresses) => addresses.hls.replace(TOKEN, "/");

// An address expired, as in a long pause: asks for fresh ones. Requests that wait for a second try are made with them.
function renew() {
  renewing ??= describe()
    .then((video) => {
      if (video.playback && opened(video.playback) === opened(playback)) playback = video.playback;
    })
    .catch(() => {}) // the player gives up by itself, and then there is more to say
    .finally(() => {
      renewing = null;
    });
}

async function address(request, url) {
  await renewing;
  request.open("GET", url.replace(TOKEN, `/stream/${TOKEN.exec(playback.hls)[1]}/`), true);
}

// A server that is being restarted is back within seconds, and an expired address is renewed: both are worth the wait.
function patient(policy) {
  const errorRetry = {
    maxNumRetry: 15,
    retryDelayMs: 1000,
    maxRetryDelayMs: 2000,
    shouldRetry(config, tries, _isTimeout, response, retry) {
      if (response?.code === 403 && tries < 3) renew();
      return retry || (response?.code === 403 && tries < 3) || (response?.code === 0 && tries < config.maxNumRetry);
    },
  };
  const timeoutRetry = { maxNumRetry: 15, retryDelayMs: 0, maxRetryDelayMs: 0 };
  return { default: { ...policy.default, errorRetry, timeoutRetry } };
}

function play(addresses) {
  say("");
  playback = addresses;
  if (!Hls?.isSupported()) {
    player = media; // a browser that plays HLS by itself
    media.src = playback.hls;
    return;
  }
  player = new Hls({
    startPosition: resume.position,
    enableWorker: false, // segments are MP4 already; a worker would need a looser content security policy
    maxMaxBufferLength: 30, // seconds; more would be fetched in vain for a viewer who leaves or seeks
    backBufferLength: 60,
    liveDurationInfinity: false, // the growing end is a real end: show it, and let it be sought
    xhrSetup: address,
    cmcd: { sessionId: playback.session_id, contentId: id }, // why a rung was chosen can then be read from the log
    playlistLoadPolicy: patient(Hls.DefaultConfig.playlistLoadPolicy),
    fragLoadPolicy: patient(Hls.DefaultConfig.fragLoadPolicy),
  });
  player.on(Hls.Events.MANIFEST_PARSED, offerQualities);
  player.on(Hls.Events.LEVEL_SWITCHED, (_event, data) => showRung(player.levels[data.level]));
  player.on(Hls.Events.FRAG_LOADED, (_event, data) => showNode(data.networkDetails));
  player.on(Hls.Events.ERROR, (_event, data) => data.fatal && recover(data));
  player.loadSource(playback.hls);
  player.attachMedia(media);
  media.playbackRate = resume.rate;
  if (resume.playing) media.play().catch(() => {}); // a browser may want a press of the button again
}

function recover(failure) {
  if (failure.type === Hls.ErrorTypes.NETWORK_ERROR) {
    resume = { position: media.currentTime, rate: media.playbackRate, playing: !media.paused };
    player.destroy();
    player = null;
    say("The connection was lost. Trying again …");
    if (!following) setTimeout(follow, POLL_MS);
    following = true;
  } else if (failure.type === Hls.ErrorTypes.MEDIA_ERROR && mediaErrors < 3) {
    mediaErrors += 1;
    player.recoverMediaError();
  } else {
    say(`This browser cannot play the video: ${failure.details}.`);
  }
}

function offerQualities() {
  const chosen = quality.value;
  quality.replaceChildren(new Option("Auto", "-1"));
  player.levels.forEach((level, index) => quality.add(new Option(rungName(level), String(index))));
  quality.value = chosen;
  quality.disabled = false;
  if (chosen !== "-1") player.nextLevel = Number(chosen);
}

// A rung's name is the folder of its playlist: 1080p for wide and upright pictures alike.
const rungName = (level) => new URL(level.url[0], location.href).pathname.split("/").at(-2);

function showRung(level) {
  if (!level) return;
  const size = level.width ? ` (${level.width}×${level.height})` : "";
  element("stat-rung").textContent = `${rungName(level)}${size}, ${Math.round(level.bitrate / 1000)} kbit/s`;
}

function showNode(request) {
  const node = request?.getResponseHeader?.("Penstock-Node");
  if (node) element("stat-node").textContent = node;
}

function showBuffer() {
  const { buffered, currentTime } = media;
  let ahead = 0;
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime) ahead = buffered.end(i) - currentTime;
  }
  element("stat-buffer").textContent = `${ahead.toFixed(1)} s`;
}

quality.addEventListener("change", () => {
  if (player) player.nextLevel = Number(quality.value);
});
element("toggle").addEventListener("click", (event) => {
  const overlay = element("overlay");
  overlay.hidden = !overlay.hidden;
  event.currentTarget.setAttribute("aria-pressed", String(!overlay.hidden));
});
media.addEventListener("timeupdate", showBuffer);
media.addEventListener("progress", showBuffer);

follow();
