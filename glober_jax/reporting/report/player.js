// Clips of one group start and loop together, and rest while out of sight or paused.
const button = document.querySelector("button");
let wanted = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const updates = [...document.querySelectorAll(".player")].map((player) => {
  const videos = [...player.querySelectorAll("video")];
  let visible = false;
  const update = () => {
    for (const video of videos) {
      if (wanted && visible) video.play().catch(() => {});
      else video.pause();
    }
  };
  for (const video of videos) video.loop = false;
  videos[0].addEventListener("ended", () => {
    for (const video of videos) video.currentTime = 0;
    update();
  });
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    update();
  }).observe(player);
  return update;
});
const show = () => {
  button.textContent = wanted ? "Pause" : "Play";
  updates.forEach((update) => update());
};
button.hidden = updates.length === 0;
button.addEventListener("click", () => {
  wanted = !wanted;
  show();
});
show();
