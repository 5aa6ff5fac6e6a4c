// Clips of one group start and loop together, pause on a press, and rest while out of sight.
for (const player of document.querySelectorAll(".player")) {
  const videos = [...player.querySelectorAll("video")];
  const button = player.querySelector("button");
  let wanted = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let visible = false;

  const update = () => {
    button.textContent = wanted ? "Pause" : "Play";
    for (const video of videos) {
      if (wanted && visible) video.play().catch(() => {});
      else video.pause();
    }
  };
  const restart = () => {
    for (const video of videos) video.currentTime = 0;
    update();
  };

  for (const video of videos) video.loop = false;
  videos[0].addEventListener("ended", restart);
  button.hidden = false;
  button.addEventListener("click", () => {
    wanted = !wanted;
    update();
  });
  new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (visible && videos[0].ended) restart();
    else update();
  }).observe(player);
}
