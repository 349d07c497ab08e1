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

let player = null;
let renewals = 0;

class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.code = problem.code;
  }
}

async function describe() {
  const query = grant ? `?${new URLSearchParams({ t: grant })}` : "";
  const response = await fetch(`/api/videos/${encodeURIComponent(id)}${query}`, { cache: "no-store" });
  const answer = await response.json();
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

async function follow() {
  let again = true;
  try {
    const video = await describe();
    show(video);
    if (video.playback && !player) play(video.playback.hls, 0);
    if (!player || !video.playback) say(player && video.state !== "failed" && video.state !== "deleted" ? "" : whyNotYet(video));
    again = !FINAL.has(video.state);
  } catch (error) {
    if (error instanceof Refused) {
      say(error.code === "video_not_found" ? "There is no such video, or it is private." : error.message);
      again = false;
    } else if (!player) {
      say("The server does not answer. Trying again …");
    }
  }
  if (again) setTimeout(follow, POLL_MS);
}

function play(address, position) {
  say("");
  if (!Hls?.isSupported()) {
    player = media;
    media.src = address; // a browser that plays HLS by itself
    media.currentTime = position;
    return;
  }
  player = new Hls({
    startPosition: position,
    enableWorker: false, // segments are MP4 already; a worker would need a looser content security policy
    backBufferLength: 60,
    liveDurationInfinity: false, // the growing end is a real end: show it, and let it be sought
  });
  player.on(Hls.Events.MANIFEST_PARSED, offerQualities);
  player.on(Hls.Events.LEVEL_SWITCHED, (_event, data) => showRung(player.levels[data.level]));
  player.on(Hls.Events.FRAG_LOADED, (_event, data) => showNode(data.networkDetails));
  player.on(Hls.Events.ERROR, recover);
  player.loadSource(address);
  player.attachMedia(media);
}

function offerQualities() {
  const chosen = quality.value;
  quality.replaceChildren(new Option("Auto", "-1"));
  player.levels.forEach((level, index) => quality.add(new Option(`${level.height}p`, String(index))));
  quality.value = chosen;
  quality.disabled = false;
}

function showRung(level) {
  if (!level) return;
  const name = level.height ? `${level.height}p` : "audio";
  element("stat-rung").textContent = `${name}, ${Math.round(level.bitrate / 1000)} kbit/s`;
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

async function recover(_event, data) {
  if (!data.fatal) return;
  const expired = data.response?.code === 403;
  if (expired && renewals < 5) {
    renewals += 1;
    const position = media.currentTime;
    player.destroy();
    try {
      const video = await describe();
      if (video.playback) play(video.playback.hls, position);
      else say(whyNotYet(video));
    } catch (error) {
      say(error.message);
    }
  } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && renewals < 5) {
    renewals += 1;
    player.recoverMediaError();
  } else {
    say(`Playback stopped: ${data.details}. Reload the page to try again.`);
  }
}

quality.addEventListener("change", () => {
  player.nextLevel = Number(quality.value);
});
element("toggle").addEventListener("click", (event) => {
  const overlay = element("overlay");
  overlay.hidden = !overlay.hidden;
  event.currentTarget.setAttribute("aria-pressed", String(!overlay.hidden));
});
media.addEventListener("timeupdate", showBuffer);
media.addEventListener("progress", showBuffer);

follow();
